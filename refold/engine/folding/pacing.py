"""The pace of a segment: by what the run was told, its rate, and the load of the database."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.step import Step
from refold.messages.run.controls import Controls
from refold.messages.run.plan import Plan
from refold.runtime.threads import PIECE_SECONDS
from refold.store import runs
from refold.store.pressure import Pressure

# How often a waiting segment looks whether the run has been told something.
_LOOK_SECONDS = 0.25
# How long a segment holds back: the workflow can begin a new history only between two segments.
_HOLD_SECONDS = 60.0
# With a limited rate, a batch has at most as many events as this time allows.
_SMOOTH_SECONDS = 0.25
# A batch that adapts changes by this factor at most, and its size stays between these bounds.
_LARGEST_STEP = 2.0
_SMALLEST_BATCH, _LARGEST_BATCH = 10, 50_000


class Pace:
    """Decides between two batches how large the next is, and when it begins.

    Args:
        engine: The database whose load is looked at.
        plan: The run's plan.
        controls: What the run had been told when the segment began.
        beat: Shows why the segment waits.

    Attributes:
        batch_size: How many events the next batch has.
        batch_seconds: How long a batch may take; then it ends, however few events it has.
    """

    def __init__(self, engine: AsyncEngine, plan: Plan, controls: Controls, beat: Step) -> None:
        limits = plan.limits(controls)
        assert limits.batch_size is not None
        self._plan = plan
        self._revision = controls.revision
        self._rate = limits.events_per_second or 0
        self._beat = beat
        self._most = max(1, int(self._rate * _SMOOTH_SECONDS)) if self._rate else sys.maxsize
        self.batch_size = min(limits.batch_size, self._most)
        self.batch_seconds = max(PIECE_SECONDS, plan.pacing.target_batch_seconds or 0)
        throttle = plan.pacing.throttle
        self._pressure = Pressure(engine, throttle) if throttle is not None else None
        self._check_seconds = throttle.check_seconds if throttle is not None else sys.maxsize
        self._clock = asyncio.get_running_loop().time
        self._looked = self._begun = self._clock()

    def is_told(self, revision: int) -> bool:
        """Whether the run has been told something since the segment began."""
        return revision > self._revision

    async def begin(self, connection: AsyncConnection) -> bool:
        """Waits before the first batch, as long as the load of the database is a reason to.

        Args:
            connection: Not in a transaction.

        Returns:
            False when the segment is to end instead.
        """
        goes_on = True
        held = False
        end = self._clock() + _HOLD_SECONDS
        while goes_on and (reasons := await self._reasons()):
            if self._clock() >= end:
                return False  # the next segment holds on
            held = True
            await runs.set_holding(connection, self._plan.run_id, "; ".join(reasons))
            self._beat.show(holding=reasons)
            goes_on = await self._sleep(connection, self._check_seconds)
        if held:
            await runs.set_holding(connection, self._plan.run_id, None)
        self._begun = self._clock()
        return goes_on

    def starts(self) -> None:
        """The first batch begins now, after what had to be prepared for it."""
        self._begun = self._clock()

    async def wait(self, connection: AsyncConnection, events: int) -> bool:
        """Waits after a batch until the next may begin.

        Args:
            connection: Not in a transaction.
            events: Events in the batch.

        Returns:
            False when the segment is to end instead. The run has been told something, or it is to
            hold back, which a segment must not do with a snapshot of the log in hand.
        """
        self._adapt(events, self._clock() - self._begun)
        if not await self._sleep(connection, await self.spend(connection, events)):
            return False
        if self._clock() - self._looked >= self._check_seconds and await self._reasons():
            return False
        self._begun = self._clock()
        return True

    async def spend(self, connection: AsyncConnection, events: int) -> float:
        """Counts events against the rate; returns the seconds until the next may be folded."""
        if not self._rate or not events:
            return 0
        return await runs.spend(connection, self._plan.run_id, events / self._rate)

    async def _reasons(self) -> list[str]:
        """Why to hold back now."""
        self._looked = self._clock()
        return await self._pressure.reasons() if self._pressure is not None else []

    def _adapt(self, events: int, seconds: float) -> None:
        pacing = self._plan.pacing
        # A batch that ended early says nothing of how long a full one takes.
        if pacing.target_batch_seconds is None or 2 * events < self.batch_size:
            return
        factor = pacing.target_batch_seconds / max(seconds, 1e-6)
        size = self.batch_size * min(max(factor, 1 / _LARGEST_STEP), _LARGEST_STEP)
        low = pacing.min_batch_size or _SMALLEST_BATCH
        largest = max(_LARGEST_BATCH, self._plan.batch_size)
        high = min(pacing.max_batch_size or largest, self._most)
        self.batch_size = max(1, min(max(round(size), low), high))

    async def _sleep(self, connection: AsyncConnection, seconds: float) -> bool:
        """Sleeps; returns False, at once, when there is something else to do."""
        end = self._clock() + seconds
        while True:
            if self._beat.is_stopping():
                return False
            if (left := end - self._clock()) <= 0:
                return True
            await asyncio.sleep(min(left, _LOOK_SECONDS))
            if left > _LOOK_SECONDS and self.is_told(
                await runs.revision(connection, self._plan.run_id)
            ):
                return False
