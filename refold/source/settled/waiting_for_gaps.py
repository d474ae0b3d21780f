"""Looking for the settled head by patience: up to the first gap, and beyond it after a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled import gaps
from refold.source.settled.gaps import Gap
from refold.source.settled.marks import Mark
from refold.source.settled.patience import Patience
from refold.source.settled.strategy import Writer

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource


class WaitingForGaps:
    """Goes on as far as all positions are used, and passes gaps that are old enough.

    A gap is passed by whoever has waited long enough first, with all that it knows of the database:
    others go on from there.

    Args:
        patience: For how long gaps are waited for.
        source: The events.
        settled: A position that is known to be settled.
        records: Whether it passes gaps itself.
    """

    def __init__(
        self, patience: Patience, source: EventSource, settled: int, *, records: bool
    ) -> None:
        self._patience = patience
        self._source = source
        self._records = records
        self.position = self.candidate = settled
        self.waiting_for: list[Writer] = []

    async def poll(self, connection: AsyncConnection) -> None:
        """See `Looking`."""
        self.waiting_for = []
        # The order matters: first the highest position, then who may still be below it.
        highest = await self._patience.highest(connection, self._source)
        self.candidate = max(self.position, highest)
        if highest <= self.position:
            return
        passed = await gaps.passed_to(connection, self._source)
        self.position = max(self.position, min(passed, highest))
        gap = await self._first_gap(connection, highest)
        if gap is None:
            return
        marks = self._patience.marks
        at_work = await self._patience.writers(connection, self._source)
        if marks.is_due(connection, highest, self._patience.seconds):
            marks.add(connection, Mark(highest, time.monotonic(), at_work))
        open_now = {writer.transaction for writer in at_work}
        ripe = marks.ripe(connection, open_now, self._patience.seconds)
        if self._records and ripe is not None and ripe.highest > gap.high:
            upto = min(ripe.highest, highest)
            await gaps.pass_over(connection, self._source, self._patience, upto)
            self.position = max(self.position, upto)
            gap = await self._first_gap(connection, highest)
        if gap is not None:
            marked = [mark for mark in marks.of(connection) if mark.highest > gap.high]
            left = self._patience.seconds - (marked[0].age if marked else 0)
            writers = marked[0].writers if marked and left <= 0 else []
            self.waiting_for = writers or [_awaited(gap, left)]

    async def _first_gap(self, connection: AsyncConnection, highest: int) -> Gap | None:
        """Goes on to the first gap, or to the highest position if there is none."""
        gap = await gaps.first_gap(
            connection, self._source, self._patience, after=self.position, upto=highest
        )
        self.position = highest if gap is None else gap.low - self._patience.step
        return gap


def _awaited(gap: Gap, seconds: float) -> Writer:
    when = f"for {seconds:.0f} s at most" if seconds > 0 else "until those at work have ended"
    name = f"nobody yet at {gap}, awaited {when}"
    return Writer(f"gap {gap.low}", None, None, name)
