"""Turns of a run's partitions in a process: two are folded at a time.

Python computes on one core, so that one partition is folded while PostgreSQL reads and writes for
another. With more of them PostgreSQL's processes get in each other's way and in that of this one:
on two cores four partitions at a time take a seventh longer than two.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from refold.engine.step import Step

_AT_A_TIME = 2
# Handlers that wait rather than compute, for a disk or for another service, gain by company. A
# batch of quick ones takes a hundredth of a second.
_LONG_SECONDS = 0.1
# Turns last for a segment. Who has one for much longer may hang, so others do not wait for it.
_PATIENCE_SECONDS = 30.0


class Turn:
    """The turn of one partition; others may wait for its end.

    Args:
        turns: What is taken.
    """

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns = turns
        self._is_taken = False

    async def begin(self) -> None:
        """Waits for it; goes on without it after a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                self._is_taken = await self._turns.acquire()

    def end(self) -> None:
        """Lets the next one begin, unless it has been done before."""
        if self._is_taken:
            self._is_taken = False
            self._turns.release()

    def took(self, seconds: float) -> None:
        """A batch was folded in so many seconds. It ends the turn when handlers are slow."""
        if seconds > _LONG_SECONDS:
            self.end()


class Turns:
    """The turns of all runs: each has its own."""

    def __init__(self) -> None:
        self._of_runs: dict[str, tuple[asyncio.Semaphore, set[Turn]]] = {}

    @asynccontextmanager
    async def turn(self, run_id: str, step: Step, *, waits: bool = True) -> AsyncIterator[Turn]:
        """The turn of a partition: until the context ends, if not sooner.

        Args:
            run_id: The run.
            step: Shows that it waits.
            waits: Whether it waits for its turn; what hardly computes in Python does not.
        """
        semaphore, turns = self._of_runs.setdefault(run_id, (asyncio.Semaphore(_AT_A_TIME), set()))
        turn = Turn(semaphore)
        turns.add(turn)
        try:
            if waits and semaphore.locked():
                step.show(
                    turn="after others of this run, of which this process folds two at a time"
                )
            if waits:
                await turn.begin()
            yield turn
        finally:
            turn.end()
            turns.remove(turn)
            if not turns:
                del self._of_runs[run_id]
