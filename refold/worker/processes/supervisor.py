"""Keeps worker processes up: starts them, starts again those that end, and stops them in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence

from refold.errors import WorkerProcessesEnded
from refold.worker.processes.child import COMMAND, Child, ending

logger = logging.getLogger("refold.worker")

CANNOT_WORK = 78
"""The exit status of a worker process that cannot work as configured: to try again is no use."""

STEADY_SECONDS = 30.0
"""A process that has run for so long has not ended at once."""

MOST_QUICK_ENDS = 5
"""After so many in a row of one process all of them end."""


class Supervisor:
    """Keeps several worker processes up.

    A process that ends is started again: after a second, and after twice as long each time that it
    has ended within `STEADY_SECONDS`. The first signal is passed on, as SIGTERM, and the processes
    are waited for, as they finish their batches; the second one kills them.

    Args:
        count: How many processes.
        command: What each of them is.
        first_pause_seconds: After how long one is started again that has ended for the first time.
    """

    def __init__(
        self,
        count: int,
        *,
        command: Sequence[str] = COMMAND,
        first_pause_seconds: float = 1.0,
    ) -> None:
        self._count = count
        self._command = command
        self._first_pause_seconds = first_pause_seconds
        self._children: dict[int, Child] = {}
        self._asked = asyncio.Event()
        self._signals = 0
        self._was_steady = False

    async def run(self) -> None:
        """Works until SIGINT or SIGTERM, and until all processes have ended then.

        Raises:
            WorkerProcessesEnded: A process cannot work, has ended soon again and again, or has not
                stopped in order.
            ConfigurationError: There is no port left for the metrics of a process.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        keeping = [asyncio.create_task(self._keep(number)) for number in range(1, self._count + 1)]
        try:
            await asyncio.gather(*keeping)
        finally:
            if not self._asked.is_set():
                # One has given up: the others finish their batches first.
                self._end(signal.SIGTERM)
            await asyncio.wait(keeping)
        if self._signals > 1:
            raise WorkerProcessesEnded.killed()

    def _signalled(self) -> None:
        self._signals += 1
        if self._signals == 1:
            logger.info("stopping: the worker processes finish the batches in hand")
            self._end(signal.SIGTERM)
        else:
            logger.warning("killing the worker processes")
            self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        self._asked.set()
        for child in self._children.values():
            child.send(how)

    async def _keep(self, number: int) -> None:
        """Keeps one place filled."""
        quick = 0
        while not self._asked.is_set():
            status, child, seconds = await self._life(number)
            if self._asked.is_set():
                # One that was not ready yet has nothing in hand, and no handler for the signal.
                if status not in (0, -signal.SIGTERM) and self._signals < 2:
                    raise WorkerProcessesEnded.when_asked(number, ending(status), child.last_words)
                return
            quick = quick + 1 if seconds < STEADY_SECONDS else 1
            said = f"{ending(status)}{f' ({child.last_words})' if child.last_words else ''}"
            if status == CANNOT_WORK and not self._was_steady:
                raise WorkerProcessesEnded.at_once(number, child.last_words)
            if quick >= MOST_QUICK_ENDS:
                raise WorkerProcessesEnded.again_and_again(
                    number, quick, STEADY_SECONDS, ending(status), child.last_words
                )
            pause = self._first_pause_seconds * 2 ** (quick - 1)
            logger.warning(
                "worker process %d, pid %d, ended with %s after %.0f s; it is started again in "
                "%.0f s",
                number,
                child.pid,
                said,
                seconds,
                pause,
            )
            await self._wait(pause)

    async def _life(self, number: int) -> tuple[int, Child, float]:
        """Starts one and waits for its end: its exit status, it, and how long it ran."""
        clock = asyncio.get_running_loop().time
        began = clock()
        child = await Child.start(number, self._command)
        logger.info("worker process %d: pid %d", number, child.pid)
        self._children[number] = child
        if self._asked.is_set():  # while it was started
            child.send(signal.SIGTERM)
        status = await child.ended()
        del self._children[number]
        seconds = clock() - began
        self._was_steady = self._was_steady or seconds >= STEADY_SECONDS
        return status, child, seconds

    async def _wait(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._asked.wait(), seconds)
        except TimeoutError:
            return
