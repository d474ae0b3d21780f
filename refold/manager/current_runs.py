"""The run at hand from Python: which one it is, its progress, what it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import NoRun
from refold.manager.connection import Connection
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import ask_progress, watch
from refold.messages.run.diff import Diff
from refold.messages.run.life import Progress
from refold.store import leases, runs

ANSWER_TIMEOUT = timedelta(seconds=20)
"""For an answer that somebody waits for; a worker may just be starting."""

KINDS = ("rebuild", "backfill", "rollback", "snapshot")
"""Of the runs that may be at a projection, as their default workflow ids begin."""


class CurrentRuns:
    """Finds the run that is at a projection, and watches it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get_backfill_progress(self, name: str) -> AsyncIterator[Progress]:
        """The progress of the projection's run, every half second until the end.

        The run may have begun before the call. While no worker is there to answer, nothing comes.

        Raises:
            NoRun: No run of the projection is known.
        """
        async for progress in self.watch(await self.current_run(name)):
            yield progress

    async def get_progress(self, workflow_id: str) -> Progress | None:
        """The progress of a run, as it stands; None when no worker answers for it in time."""
        return await ask_progress(self._connection.client.get_workflow_handle(workflow_id))

    async def watch(self, run: StartedRun) -> AsyncIterator[Progress]:
        """The progress of a run, every half second until the end."""
        async for progress in watch(self._connection, run):
            yield progress

    async def current_run(self, name: str) -> StartedRun:
        """The run that holds the projection, else one that has been started, else the latest.

        Without a database it goes by the default workflow ids only.

        Raises:
            NoRun: There is none.
        """
        held, recorded = await self._recorded(name)
        if held is not None:
            return held
        latest: tuple[Any, StartedRun] | None = None
        for kind in KINDS:
            workflow_id = f"{kind}/{name}"
            try:
                found = await self._connection.client.get_workflow_handle(workflow_id).describe()
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                continue
            running = found.status == WorkflowExecutionStatus.RUNNING
            order = (running, found.start_time)
            # One that has ended counts only if nobody keeps a record: it may have been refused.
            counts = running or not self._connection.has_database
            if counts and (latest is None or order > latest[0]):
                latest = (order, StartedRun(workflow_id, found.run_id))
        if latest is not None:
            return latest[1]
        if recorded is not None:
            return recorded
        raise NoRun(
            f"projection {name!r}: expected a run, found none: start one with "
            f"`refold rebuild {name}`"
        )

    async def get_diff(self, name: str) -> Diff | None:
        """What the projection's latest rebuild changes, or has changed; None until it is verified.

        Raises:
            NoRun: There is none.
        """
        run = await self.current_run(name)
        handle = self._connection.client.get_workflow_handle(run.workflow_id)
        answer: Diff | None = await handle.query(
            "diff",
            result_type=Diff | None,  # type: ignore[arg-type]
            rpc_timeout=ANSWER_TIMEOUT,
        )
        return answer

    async def _recorded(self, name: str) -> tuple[StartedRun | None, StartedRun | None]:
        """The run that holds the projection, and the latest one, as the database knows them."""
        if not self._connection.has_database:
            return None, None
        async with self._connection.connected() as connection:
            lease = await leases.holder(connection, name)
            run = await runs.latest(connection, name)
        held = None if lease is None else StartedRun(lease.workflow_id, lease.run_id)
        return held, None if run is None else StartedRun(run.workflow_id, run.run_id)
