"""The life of a row: every event of its key, with the row before and after."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent
from refold.event import Event
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.threads import Hand, in_thread
from refold.source.event_sizes import read_chunks
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reading
from refold.source.reader import keyed_events, one_of, wanted

# So many positions are in memory at a time.
_POSITIONS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Step:
    """One event of a key, and what it makes of the row.

    Attributes:
        event: The event.
        before: The row before it; None for no row.
        after: The row after it, as the table would hold it; None for no row.
        error: Why it changes nothing: it is poison, or passed over; None when it is applied.
    """

    event: Event
    before: Row | None
    after: Row | None
    error: str | None = None


@dataclass
class RowLife:
    """The steps of one key under one version of a projection.

    Attributes:
        version: The version.
        steps: The steps that were asked for, in order.
        row: The row after the last event that was looked at.
        position: That event's position; None when the key has no event.
        is_whole: Whether no event of the key is left after the last step.
        row_then: The row after the events up to the position that was marked.
    """

    version: int
    steps: list[Step] = field(default_factory=list)
    row: Row | None = None
    position: int | None = None
    is_whole: bool = True
    row_then: Row | None = None


async def life_of(
    connection: AsyncConnection,
    projection: Projection,
    key: Key,
    *,
    upto: int,
    after: int | None = None,
    limit: int,
    mark: int = 0,
    passed_over: Collection[int] = (),
) -> RowLife:
    """Folds the events of one key, and keeps each step.

    What comes after a poison event changes nothing: the key is held there, or the run has failed.

    The events of a key that is made of paths are found by PostgreSQL. Of a key function nobody
    knows which events are a key's, so the log is read from its beginning then.

    Args:
        connection: Any connection.
        projection: Whose handlers fold.
        key: The row's key.
        upto: Only events up to this position (inclusive).
        after: Only steps after this position (exclusive) are kept; those before are folded.
        limit: How many steps are kept at most.
        mark: A position: how the row was then is told, too.
        passed_over: The positions of events that are in no fold.

    Raises:
        UnreadableEvent: The JSON of an event cannot be read.
        HandlerOverdue: A handler has taken too long.
    """
    life = _Life(projection, key, after=after, limit=limit, mark=mark, passed_over={*passed_over})
    async for positions in _positions(connection, projection, key, upto):
        async for chunk in read_chunks(connection, positions):
            if not await in_thread(life.take, chunk, hand=life.hand):
                return life.found
    return life.found


class _Life:
    def __init__(
        self,
        projection: Projection,
        key: Key,
        *,
        after: int | None,
        limit: int,
        mark: int,
        passed_over: set[int],
    ) -> None:
        self.hand = Hand(projection.name)
        self.found = RowLife(projection.version)
        self._rows = projection.rows
        self._key = key
        self._fields = projection.rows.key_fields(key)
        self._after = after
        self._limit = limit
        self._mark = mark
        self._passed_over = passed_over
        self._poison: int | None = None

    def take(self, chunk: list[Event]) -> bool:
        """Folds the next events; False when no more steps are wanted."""
        for event in self.hand.each(chunk):
            if not self._is_own(event):
                continue
            if len(self.found.steps) == self._limit:
                self.found.is_whole = False
                return False
            self._step(event)
        return True

    def _is_own(self, event: Event) -> bool:
        try:
            return self._key in self._rows.keys_of(event)
        except PoisonEvent:  # nobody knows whose it is
            return False

    def _step(self, event: Event) -> None:
        before, error = self.found.row, None
        if event.position in self._passed_over:
            error = "passed over: it was skipped as a dead letter"
        elif self._poison is not None:
            error = f"not applied: event {self._poison} could not be"
        else:
            try:
                self.found.row = self._rows.apply(before, event, self._fields)
            except PoisonEvent as poison:
                self._poison, error = event.position, str(poison)
        self.found.position = event.position
        if event.position <= self._mark:
            self.found.row_then = self.found.row
        if self._after is None or event.position > self._after:
            self.found.steps.append(Step(event, before, self.found.row, error))


async def _positions(
    connection: AsyncConnection, projection: Projection, key: Key, upto: int
) -> AsyncIterator[list[int]]:
    position = events().c.position
    after = event_source().before
    while True:
        conditions = [position > after, position <= upto]
        if projection.key_paths is None:
            conditions += wanted(projection.event_types, projection.start_from)
        else:
            conditions += [*keyed_events(projection), one_of(projection.key_paths, [key])]
        statement = select(position).where(*conditions).order_by(position)
        async with reading(connection) as there:
            found = list(await there.scalars(statement.limit(_POSITIONS_AT_ONCE)))
        if found:
            yield found
        if len(found) < _POSITIONS_AT_ONCE:
            return
        after = found[-1]
