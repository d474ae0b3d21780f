"""A run's progress from Python: asked for until the end, and told to a callback."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowQueryFailedError
from temporalio.service import RPCError

from refold.manager.connection import Connection, is_running
from refold.manager.run.started_run import StartedRun
from refold.messages.run.life import Progress

logger = logging.getLogger(__name__)

OnProgress = Callable[[Progress], object]
"""Is given the progress of a run; what it returns is awaited if it can be."""

_POLL_SECONDS = 0.5
_QUERY_TIMEOUT = timedelta(seconds=3)

# After the end: for the last progress, and a callback that is at it.
_LAST_SECONDS = 10.0


async def watch(connection: Connection, run: StartedRun) -> AsyncIterator[Progress]:
    """The progress of a run, every half second until the end; the last one is from after it."""
    handle = connection.client.get_workflow_handle(run.workflow_id)
    while True:
        # Asked first, so that the last answer is one from after the end. A terminated run goes
        # on answering with what it was doing.
        running = await is_running(handle)
        progress = await ask_progress(handle)
        if progress is not None:
            yield progress
        if not running or (progress is not None and progress.status.ended):
            return
        await asyncio.sleep(_POLL_SECONDS)


async def ask_progress(handle: WorkflowHandle[Any, Any]) -> Progress | None:
    """The progress of a run, as it stands; None when no worker answers for it in time."""
    with suppress(RPCError, WorkflowQueryFailedError):
        answer: Progress = await handle.query(
            "progress", result_type=Progress, rpc_timeout=_QUERY_TIMEOUT
        )
        return answer
    return None


@asynccontextmanager
async def telling(
    connection: Connection, run: StartedRun, on_progress: OnProgress | None
) -> AsyncIterator[None]:
    """Tells a callback of a run's progress until the context ends, the last one included.

    What the callback raises is logged, once, and harms neither the run nor who waits for it. A
    callback that does not come to an end is given up some seconds after the run's end.
    """
    if on_progress is None:
        yield
        return
    teller = asyncio.create_task(_Teller(on_progress).tell(connection, run))
    try:
        try:
            yield
        except Exception:  # the run has failed, which is told, too
            await asyncio.wait({teller}, timeout=_LAST_SECONDS)
            raise
        await asyncio.wait({teller}, timeout=_LAST_SECONDS)
    finally:
        teller.cancel()
        await asyncio.gather(teller, return_exceptions=True)


class _Teller:
    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._complained = False

    async def tell(self, connection: Connection, run: StartedRun) -> None:
        told: Progress | None = None
        while True:
            try:
                async for progress in watch(connection, run):
                    if progress != told:
                        await self._call(progress, run)
                    told = progress
            except RPCError as error:
                # Temporal does not answer now: who waits for the result hears of it.
                logger.debug("the progress of %s: %s", run.workflow_id, error)
                await asyncio.sleep(_POLL_SECONDS)
            else:
                return

    async def _call(self, progress: Progress, run: StartedRun) -> None:
        try:
            answer = self._on_progress(progress)
            if inspect.isawaitable(answer):
                await answer
        except Exception:
            if not self._complained:
                logger.exception(
                    "on_progress of %s raised; the run goes on, and it is called again",
                    run.workflow_id,
                )
            self._complained = True
