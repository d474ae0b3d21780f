"""What mirrors of tests copy from: a list of events, and a long stretch that anybody can tell."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from refold.source.mirrors import Cursor, MirroredEvent

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
STREAMS = 7


def numbered(number: int, *, version: bool = True) -> MirroredEvent:
    """The event of a number, from 0: always the same one."""
    return MirroredEvent(
        "Counted",
        {"number": number},
        metadata={"by": "them"},
        recorded_at=NOON + timedelta(seconds=number),
        stream_id=f"foreign-{number % STREAMS}",
        version=number // STREAMS + 1 if version else None,
    )


class Feed:
    """A list of events whose cursor is an object; what `fails` holds is raised, in that order."""

    def __init__(self) -> None:
        self.events: list[MirroredEvent | None] = []
        self.fails: list[Exception] = []
        self.asked: list[tuple[Any, int]] = []
        self.wait: asyncio.Event | None = None

    async def read(
        self, after: Cursor | None, limit: int
    ) -> Sequence[tuple[Cursor, MirroredEvent | None]]:
        self.asked.append((after, limit))
        if self.fails:
            raise self.fails.pop(0)
        if self.wait is not None:
            await self.wait.wait()
        begin = 0 if after is None else after["at"]
        given = self.events[begin : begin + limit]
        return [({"at": begin + number}, event) for number, event in enumerate(given, start=1)]


feed = Feed()


class Stretch:
    """So many numbered events; the cursor is how many have been given."""

    async def read(
        self, after: Cursor | None, limit: int
    ) -> Sequence[tuple[Cursor, MirroredEvent | None]]:
        begin, end = after or 0, int(os.environ["STRETCH"])
        return [(number + 1, numbered(number)) for number in range(begin, min(begin + limit, end))]


stretch = Stretch()
