"""Worker processes that come and go while a stack stays up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from refold.stack.process import ChildProcess
from refold.stack.stack import Stack
from refold.stack.workers.pool import COMMAND

_READY = b"working on task queue"
_SECONDS = 60.0


def environment(stack: Stack) -> dict[str, str]:
    """The variables that lead a process to a stack, and to no other Temporal."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}
    return {**own, **stack.environment, "TEMPORAL_CONFIG_FILE": os.devnull}


@asynccontextmanager
async def worker(stack: Stack, name: str) -> AsyncIterator[int]:
    """A worker process that is at work; gives its pid. It is stopped in the end.

    Raises:
        TimeoutError: It was not ready in time; its log says why.
    """
    log = stack.data_dir / f"{name}.log"
    begins = log.stat().st_size if log.exists() else 0
    process = ChildProcess(name, COMMAND, log=log, environment=environment(stack))
    try:
        async with asyncio.timeout(_SECONDS):
            while _READY not in log.read_bytes()[begins:]:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        yield process.pid
    finally:
        process.ask_to_stop()
        await asyncio.to_thread(process.stop, 30.0)
