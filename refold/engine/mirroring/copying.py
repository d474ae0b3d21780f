"""A segment of copying: batches, each with its cursor in one transaction.

Every batch goes from the cursor that its attempt has read when it took the mirror over, and the
row with the cursor is locked under the attempt's fence before anything is written. So an attempt
that comes back from the dead writes nothing, and a batch is there with its cursor or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.step import Step
from refold.errors import ConfigurationError
from refold.errors.words import described
from refold.messages.mirrors import MirrorLimits
from refold.projection.columns import exact_json
from refold.runtime.database import own_transaction, raw
from refold.source.mirrors.landing import (
    Incoming,
    analyze_if_grown,
    incoming,
    land,
    require_free,
)
from refold.source.mirrors.protocol import Cursor, MirroredEvent, MirrorSource, readable
from refold.store.mirrors import cursors
from refold.store.mirrors.cursors import SEEN_SECONDS, Taken

# How often it asks for events while none come, and for some seconds after some have come.
_LOOK_SECONDS, _SOON_SECONDS, _BUSY_SECONDS = 0.25, 0.05, 2.0
# Copied events are reported within this time, however long the segment was to be.
_TELL_SECONDS = 10.0
# A mirror that has been behind for longer than this is catching up; for less, it is live.
_LAG_SECONDS = 1.0
# With a limited rate, a batch has at most as many events as this time allows.
_SMOOTH_SECONDS = 0.25
# After so many events it is looked whether PostgreSQL knows the table only as it was.
_ANALYZE_EVENTS = 50_000

Given = tuple[Cursor, MirroredEvent | None]


@dataclass(frozen=True)
class Copied:
    """What a segment came to.

    Attributes:
        events: How many events it copied.
        seconds: How long it took.
        caught_up: Whether the source had no more when it was asked last.
    """

    events: int
    seconds: float
    caught_up: bool


class Copying:
    """Copies from a source, in the name of an attempt that has taken the mirror over.

    Args:
        writer: A connection that nobody else uses, not in a transaction.
        source: What is copied from.
        taken: The mirror.
        limits: How fast.
        beat: Shows how far it is.
        was_live: Whether the mirror had caught up before.

    Attributes:
        taken: The mirror.
    """

    def __init__(
        self,
        writer: AsyncConnection,
        source: MirrorSource,
        taken: Taken,
        limits: MirrorLimits,
        beat: Step,
        *,
        was_live: bool = False,
    ) -> None:
        self._writer = writer
        self._source = source
        self.taken = taken
        self._rate = limits.events_per_second
        most = max(1, int(self._rate * _SMOOTH_SECONDS)) if self._rate else limits.batch_size
        self._limit = min(limits.batch_size, most)
        self._beat = beat
        self._cursor = taken.cursor
        self._events = 0
        self._unanalyzed = 0
        self._caught_up = was_live
        self._clock = asyncio.get_running_loop().time
        self._began = self._shown = self._clock()
        self._wait = taken.paused_seconds if self._rate else 0.0

    async def copy(self, seconds: float) -> Copied:
        """Copies events as they come, for so many seconds.

        It ends sooner when it catches up after a while, so that people know, and when its worker
        is about to end.

        Raises:
            Fenced: Another attempt has taken the mirror over.
            MirrorConflict: The log has an event already where one is to land.
            UnreadableEvent: An event cannot be read, or stored.
            RefoldError: As the source raises it.
        """
        end = self._began + seconds
        busy_until = 0.0
        behind_since = None if self._caught_up else self._began
        while True:
            if self._wait > 0:
                await asyncio.sleep(min(self._wait, max(0.0, end - self._clock())))
                self._wait = 0.0
            if self._clock() >= end or self._beat.is_stopping():
                return await self._ended()
            given = await self._given()
            self._caught_up = len(given) < self._limit
            if given:
                await self._commit(given)
                busy_until = self._clock() + _BUSY_SECONDS
            elif self._clock() - self._shown > SEEN_SECONDS or behind_since is not None:
                await self._show()
            if self._events:
                end = min(end, self._clock() + _TELL_SECONDS)
            if not self._caught_up:
                behind_since = behind_since or self._clock()
                continue
            lagged = behind_since is not None and self._clock() - behind_since > _LAG_SECONDS
            behind_since = None
            if lagged:
                return await self._ended()
            pause = _SOON_SECONDS if self._clock() < busy_until else _LOOK_SECONDS
            self._wait = max(self._wait, pause)

    async def _given(self) -> Sequence[Given]:
        given = await self._source.read(self._cursor, self._limit)
        if len(given) > self._limit:
            raise ConfigurationError(
                f"the mirror's source: expected {self._limit} events at most, as `read` was asked "
                f"for, got {len(given)}"
            )
        return [_checked(one) for one in given]

    async def _commit(self, given: Sequence[Given]) -> None:
        """Writes a batch, and its cursor with it."""
        cursor = given[-1][0]
        events = [event for _, event in given if event is not None]
        arrived = readable(events, incoming)
        if len(arrived) < len(events):
            # The first that cannot be stored is the next one to be read.
            cursor = _before(given, events[len(arrived)])
        self._wait = await self._written(arrived, _stored(cursor))
        # As another attempt would be given it.
        self._cursor = exact_json.loads(_stored(cursor))
        self._shown = self._clock()
        self._events += len(arrived)
        self._beat.show(events=self._events)
        await self._analyze(len(arrived))

    async def _written(self, arrived: Sequence[Incoming], cursor: str) -> float:
        taken = self.taken
        while True:
            try:
                async with own_transaction(self._writer) as driver:
                    await cursors.lock(driver, taken.mirror, taken.fence)
                    position = await land(driver, arrived) if arrived else None
                    waits = await cursors.move(
                        driver,
                        taken,
                        cursor,
                        events=len(arrived),
                        position=position,
                        recorded_at=arrived[-1].recorded_at if arrived else None,
                        caught_up=self._caught_up,
                        seconds=len(arrived) / self._rate if self._rate else 0.0,
                    )
                return waits if self._rate else 0.0
            except asyncpg.UniqueViolationError:
                await require_free(await raw(self._writer), arrived)
                # Somebody has appended where the log was to give a version: it gives the next one.

    async def _show(self) -> None:
        await cursors.show(await raw(self._writer), self.taken, caught_up=self._caught_up)
        self._shown = self._clock()

    async def _analyze(self, events: int) -> None:
        self._unanalyzed += events
        if self._unanalyzed >= _ANALYZE_EVENTS:
            self._unanalyzed = 0
            await analyze_if_grown(await raw(self._writer))

    async def _ended(self) -> Copied:
        if self._events:
            await analyze_if_grown(await raw(self._writer))
        return self.so_far()

    def so_far(self) -> Copied:
        """What has been copied, also when it was told to stop."""
        return Copied(self._events, self._clock() - self._began, self._caught_up)


def _stored(cursor: Cursor) -> str:
    try:
        return exact_json.dumps(cursor)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the mirror's source: expected a cursor of JSON, got {described(cursor)}"
        ) from error


def _before(given: Sequence[Given], event: MirroredEvent) -> Cursor:
    """The cursor of what was given before an event."""
    at = next(number for number, (_, one) in enumerate(given) if one is event)
    return given[at - 1][0]


def _checked(one: Any) -> Given:
    """What a source gives, if it is that.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(one, tuple) and len(one) == 2:
        cursor, event = one
        if cursor is not None and (event is None or isinstance(event, MirroredEvent)):
            return cursor, event
        if isinstance(event, MirroredEvent) or event is None:
            raise ConfigurationError("the mirror's source: expected a cursor that is not None")
        one = event
    raise ConfigurationError(
        "the mirror's source: expected `read` to return pairs of a cursor and a MirroredEvent (or "
        f"None), got {described(one)}"
    )
