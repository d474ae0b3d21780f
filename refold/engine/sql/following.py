"""Follow by a select: the keys of new events computed anew, or what they add merged in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, select, type_coerce
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.folding.poison_events import most_letters, passed_over
from refold.engine.folding.refused_rows import Tracing
from refold.engine.folding.row_bounds import fitting
from refold.engine.sql.select_fold import Rows, SelectFold
from refold.errors import PoisonEvent
from refold.event import Event
from refold.projection.dead_letters import Letter
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.source.misfits import is_misfit
from refold.source.port.current import event_source, events
from refold.source.portions import after_gap
from refold.source.reader import key_columns, not_at, read_at, wanted
from refold.source.sql.spans import Span, rows_of
from refold.store import dead_letters
from refold.store.tables.changes import Change, Changes
from refold.store.tables.refused_row import refused_row

if TYPE_CHECKING:
    from refold.engine.folding.follower import Follower

# Of one batch: their keys, and the rows of these, are in memory together.
_MOST_EVENTS = 10_000
# One statement looks at this many positions a wanted event.
_WINDOW_PER_EVENT = 50

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class _Found:
    """The next events, as far as they must be known.

    Attributes:
        events: Each with its position and type only.
        keys: The key of each, None for an event that has none or is only looked at for snapshots.
        misfits: Positions of those whose key does not fit.
        all: Whether no event comes after them in the window.
    """

    events: list[Event] = field(default_factory=list)
    keys: list[Key | None] = field(default_factory=list)
    misfits: list[int] = field(default_factory=list)
    all: bool = True

    def cut(self, count: int) -> None:
        """Leaves the events after the first `count` to the next batch."""
        if count < len(self.events):
            del self.events[count:], self.keys[count:]
            self.misfits = [at for at in self.misfits if at <= self.events[-1].position]
            self.all = False


class SelectFollowing:
    """One batch of a generation that is followed.

    Args:
        follower: Whose generation, checkpoint and snapshots.
        fold: The projection's select.
        connection: In a transaction.
    """

    def __init__(self, follower: Follower, fold: SelectFold, connection: AsyncConnection) -> None:
        self._follower = follower
        self._fold = fold
        self._connection = connection

    async def apply(self, upto: int, *, careful: bool) -> int:
        """Applies the next events, the checkpoint first; see `Follower.apply_batch`.

        Args:
            upto: A settled position (inclusive).
            careful: Whether rows are written one by one where PostgreSQL refuses one.

        Returns:
            How many events were applied.

        Raises:
            Fenced: Somebody else has moved the checkpoint.
            PoisonEvent: An event's key does not fit.
            RowRejected: The select fails for a key, or PostgreSQL refuses its row.
        """
        follower, moments = self._follower, self._follower.moments
        old = follower.position
        moments.begin()
        limit = moments.limit(min(follower.batch_size, _MOST_EVENTS))
        window = min(upto, old + limit * _WINDOW_PER_EVENT)
        found = await self._next(old, window, limit)
        keys_of_events = [[] if key is None else [key] for key in found.keys]
        found.cut(await fitting(self._connection, follower.rows, keys_of_events))
        due = moments.due(found.events)
        new = window if found.events else await after_gap(self._connection, window, upto)
        if due or not found.all:
            new = found.events[-1].position
        # Only under this lock are the rows safe to read: an in-place refold may be at them.
        await follower.advance(self._connection, old, new, found.events)
        await self._set_aside(found)
        keys = list(dict.fromkeys(key for key in found.keys if key is not None))
        held = await dead_letters.held_among(
            self._connection, follower.projection.name, follower.generation.generation, keys
        )
        keys = [key for key in keys if key not in held]
        last = await self._last(found) if due or moments.marked else None
        if keys:
            await self._write(found, keys, new, last, careful=careful)
        if due:
            await moments.make(self._connection, new, last)
        follower.position = new
        return len(found.events)

    async def _next(self, after: int, upto: int, limit: int) -> _Found:
        follower, projection = self._follower, self._follower.projection
        assert projection.key_paths is not None
        columns = [*key_columns(projection.key_paths), is_misfit(projection)]
        labelled = [column.label(f"k{at}") for at, column in enumerate(columns)]
        statement = (
            select(events().c.position, events().c.type, *labelled)
            .where(
                events().c.position > after,
                events().c.position <= upto,
                *wanted(follower.moments.types, projection.start_from),
                *not_at(follower.skipped),
            )
            .order_by(events().c.position)
            .limit(limit)
        )
        found, types = _Found(), projection.event_types
        records = (await self._connection.execute(statement)).all()
        found.all = len(records) < limit
        for position, stored, *parts, misfit in records:
            kind = event_source().type_of(stored)
            event = Event(position, "", 0, kind, {}, {}, _EPOCH)
            has_key = types is None or kind in types
            found.events.append(event)
            found.keys.append(_key(parts) if has_key and not misfit else None)
            if has_key and misfit:
                found.misfits.append(position)
            if follower.moments.is_trigger(event):
                found.cut(len(found.events))
                found.all = found.all and event.position == records[-1].position
                break
        return found

    async def _set_aside(self, found: _Found) -> None:
        """Makes letters of events whose key does not fit, if they are to be set aside."""
        if not found.misfits:
            return
        follower, letters = self._follower, []
        for event in await read_at(self._connection, found.misfits):
            try:
                follower.projection.rows.keys_of(event)
            except PoisonEvent as poison:
                if not follower.poison.sets_aside:
                    raise
                letters.append(Letter.of(poison))
        await dead_letters.add(
            await raw(self._connection),
            follower.projection.name,
            follower.generation.generation,
            letters,
            most=most_letters(follower.poison),
            run_id=follower.run_id,
        )

    async def _last(self, found: _Found) -> Event | None:
        """The last event as it was read: what makes a snapshot may look at it."""
        if not found.events:
            return None
        read = await read_at(self._connection, [found.events[-1].position])
        return read[0] if read else None

    async def _write(
        self, found: _Found, keys: Sequence[Key], new: int, last: Event | None, *, careful: bool
    ) -> None:
        follower, connection = self._follower, self._connection
        old = follower.position
        passed = await passed_over(connection, follower.projection, follower.generation.generation)
        marked = follower.moments.marked
        merges = self._fold.projection.merges is not None
        before: dict[Key, Any] = {}
        if marked:
            before = await follower.rows.read(connection, keys)
        after: Rows = dict.fromkeys(keys)
        if merges and await self._merged(Span(new, old, passed_over=passed), careful=careful):
            if marked:
                after.update(await follower.rows.read(connection, keys))
        else:
            after = await self._fold.rows(connection, keys, upto=new, passed_over=passed)
            await self._put(found, after, careful=careful)
        if marked:
            written = {key: (before.get(key), _same(before.get(key), after[key])) for key in keys}
            await follower.moments.keep(connection, old, written, last)

    async def _put(self, found: _Found, after: Rows, *, careful: bool) -> None:
        follower = self._follower
        changes = Changes(self._connection, follower.rows)
        made = [Change(key, row) for key, row in after.items()]
        if not careful:
            await changes.write(made)
            return
        for key, why in (await changes.put(made)).items():
            tracing = Tracing(
                self._connection, changes, self._fold.projection, None, follower.rows.name
            )
            first = found.events[found.keys.index(key)]
            await tracing.require_not_behind(first, why, Change(key, after[key]))
            raise self._fold.refused(key, why)

    async def _merged(self, span: Span, *, careful: bool) -> bool:
        """Merges what new events add; False when PostgreSQL refuses it, and all is as before."""
        if not careful:
            await self._merge(span)
            return True
        try:
            async with self._connection.begin_nested():
                await self._merge(span)
        except DBAPIError as error:
            if refused_row(error) is None:
                raise
            return False
        return True

    async def _merge(self, span: Span) -> None:
        """Merges the rows that new events alone make into those that there are."""
        merges, table = self._fold.projection.merges, self._follower.rows.table
        assert merges is not None
        rows = rows_of(self._fold.projection, span)
        names = [str(column.name) for column in rows.selected_columns]
        added = insert(table).from_select(names, rows, include_defaults=False)
        # With the types that people declare: those by which rows are read have no operators.
        kinds = {str(c.name): c.type for c in self._fold.projection.table.columns}
        changed: dict[str, ColumnElement[Any]] = {
            name: merge(
                *[type_coerce(side[name], kinds[name]) for side in (table.c, added.excluded)]
            )
            for name, merge in merges.items()
        }
        key = [column.name for column in table.primary_key.columns]
        await self._connection.execute(
            added.on_conflict_do_update(index_elements=key, set_=changed)
            if changed
            else added.on_conflict_do_nothing()
        )


def _same(before: Any, after: Any) -> Any:
    """The row after; the very object before where nothing has changed."""
    return before if before == after else after


def _key(parts: Sequence[Any]) -> Key | None:
    if any(part is None for part in parts):
        return None
    return parts[0] if len(parts) == 1 else tuple(parts)
