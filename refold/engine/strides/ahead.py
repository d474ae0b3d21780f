"""Reads the events that are followed next, on a connection of its own, ahead of who applies them.

While a transaction folds and commits, PostgreSQL makes the next events ready. They are settled, so
nothing can change them; what they are applied to is read in the transaction that applies them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.projection.narrowed.sent_event import Sent
from refold.runtime.database import READERS_AHEAD
from refold.source.port.elsewhere import events_engine
from refold.source.portions import PORTION_EVENTS, after_gap, position_of, stream
from refold.source.reader import in_position_order

# So many bytes of events are held ready; one portion more may come on top.
_READY_BYTES = 4 << 20
# One transaction reads so many positions: its snapshot is not to grow old.
_POSITIONS = 250_000

_at_work: set[asyncio.Task[None]] = set()
"""Who reads ahead in this process: each takes a connection that no activity counts on."""


@dataclass(frozen=True)
class Asked:
    """Which events are read.

    Attributes:
        types: Of these types; None for all.
        since: Recorded at this moment or later; None for no bound.
        passed_over: Not those at these positions.
    """

    types: tuple[str, ...] | None
    since: datetime | None
    passed_over: tuple[int, ...]


@dataclass(frozen=True)
class Portion:
    """Some events in order of position, next to each other.

    Attributes:
        texts: Each as JSON, for `refold.source.decoding.decoded`; there may be none.
        after: The position after which they begin (exclusive).
        upto: Up to here (inclusive) there are no others.
        size: Their bytes.
    """

    texts: list[str]
    after: int
    upto: int
    size: int


class Ahead:
    """Reads ahead for one follower; see `reading_ahead`.

    Args:
        engine: The database of the read models.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._asked: tuple[Asked, Sent] | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Queue[Portion | Exception | None] = asyncio.Queue()
        self._size = 0
        self._room = asyncio.Event()
        self._next = self._upto = 0
        self._back: Portion | None = None

    async def begin(self, asked: Asked, sent: Sent, *, after: int, upto: int) -> bool:
        """Sees to it that `take` gives the events from a position on; goes on where it can.

        Args:
            asked: Which events.
            sent: What is sent of each.
            after: Only positions above this (exclusive).
            upto: Only positions up to this, which is settled (inclusive).

        Returns:
            False when this process reads ahead for others already.
        """
        goes_on = self._asked == (asked, sent) and self._next == after and self._upto <= upto
        if self._task is not None and goes_on:
            return True
        await self.end()
        if len(_at_work) >= READERS_AHEAD:
            return False
        self._asked, self._next, self._upto = (asked, sent), after, upto
        self._ready, self._size = asyncio.Queue(), 0
        self._task = asyncio.create_task(self._run(asked, sent, after, upto))
        _at_work.add(self._task)
        self._task.add_done_callback(_at_work.discard)
        return True

    async def take(self, *, seconds: float | None = None) -> Portion | None:
        """The next portion; None when there is none up to where it was to read.

        Args:
            seconds: How long to wait at most; then it is None, too, and comes later.

        Raises:
            DBAPIError, PostgresError: The events could not be read.
        """
        portion: Portion | Exception | None = self._back
        self._back = None
        if portion is None:
            try:
                async with asyncio.timeout(seconds):
                    portion = await self._ready.get()
            except TimeoutError:
                return None
        if isinstance(portion, Exception):
            await self.end()  # whoever begins again is not to wait for what has ended
            raise portion
        if portion is None:
            await self.end()
            return None
        self._size -= portion.size
        self._next = portion.upto
        self._room.set()
        return portion

    def put_back(self, portion: Portion) -> None:
        """What was taken last was not applied: it is to come again."""
        self._back, self._next = portion, portion.after
        self._size += portion.size

    async def end(self) -> None:
        """Reads no further; the connection is left to others."""
        task, self._task, self._asked, self._back = self._task, None, None, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self, asked: Asked, sent: Sent, after: int, upto: int) -> None:
        try:
            await self._read(asked, sent, after, upto)
        except Exception as error:
            self._ready.put_nowait(error)
        else:
            self._ready.put_nowait(None)

    async def _read(self, asked: Asked, sent: Sent, after: int, upto: int) -> None:
        async with events_engine(self._engine).connect() as connection:
            while after < upto:
                end = min(upto, after + _POSITIONS)
                statement = in_position_order(
                    types=asked.types,
                    after=after,
                    upto=end,
                    since=asked.since,
                    passed_over=asked.passed_over,
                    sent=sent,
                )
                found = False
                async with stream(
                    connection, statement, fetch=PORTION_EVENTS, sent=sent, upto=end
                ) as lists:
                    async for texts in lists:
                        found = True
                        last = position_of(texts[-1])
                        await self._put(Portion(texts, after, last, sum(map(len, texts))))
                        after = last
                if not found:
                    async with connection.begin():
                        end = await after_gap(connection, end, upto)
                if after < end:
                    await self._put(Portion([], after, end, 0))
                    after = end

    async def _put(self, portion: Portion) -> None:
        while self._size > _READY_BYTES:
            self._room.clear()
            await self._room.wait()
        self._size += portion.size
        self._ready.put_nowait(portion)


@asynccontextmanager
async def reading_ahead(engine: AsyncEngine) -> AsyncIterator[Ahead]:
    """What reads ahead for one follower, until the context ends.

    Args:
        engine: The database of the read models.
    """
    ahead = Ahead(engine)
    try:
        yield ahead
    finally:
        await ahead.end()
