"""Rows that PostgreSQL refuses, traced to the event that made them so."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent, RowRejected, TargetBehind
from refold.event import Event
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.threads import Hand, in_thread
from refold.store.generations import Generation
from refold.store.tables.changes import Change, Changes
from refold.store.tables.refused_row import RefusedRow

_REFERS = "23503"

# The read models at the two ends of a foreign key, of which one may only be behind.
_ENDS = text(
    """
    SELECT g.projection, coalesce(g.position, 0) AS position
    FROM pg_constraint f JOIN pg_class c ON c.oid IN (f.conrelid, f.confrelid)
    JOIN pg_namespace s ON s.oid = c.relnamespace
    JOIN refold.generations g
      ON g.schema_name = s.nspname AND g.table_name = c.relname AND g.status = 'active'
    WHERE f.contype = 'f' AND f.conname = :name AND g.projection <> :projection
      AND to_regclass(:table) IN (f.conrelid, f.confrelid)
    """
)


@dataclass(frozen=True)
class Traced:
    """The event after which PostgreSQL refuses a key's row.

    Attributes:
        poison: The event, and why.
        row: The key's row before it, which PostgreSQL takes.
    """

    poison: PoisonEvent
    row: Row | None

    def letter(self, key: Key) -> Letter:
        """The letter that holds the key."""
        return Letter.of(self.poison, key=key)


class Tracing:
    """Finds the events behind refused rows of one generation.

    Args:
        connection: In the transaction that writes the rows.
        changes: How they are written.
        projection: Whose handlers fold.
        generation: The generation; None when it is not known what its table was built with.
        table: The table, quoted.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        changes: Changes,
        projection: Projection,
        generation: Generation | None,
        table: str,
    ) -> None:
        self._connection = connection
        self._changes = changes
        self._projection = projection
        built = generation.built_with if generation is not None else None
        self._declared = None if built is None else built["names"]
        self._table = table

    @property
    def changes(self) -> Changes:
        """How the rows are written."""
        return self._changes

    async def trace(
        self, key: Key, before: Row | None, events: Sequence[Event], why: RefusedRow
    ) -> Traced:
        """The first event of these after which the key's row is refused, by halving.

        Args:
            key: The key.
            before: Its row before the events, which stands.
            events: Of the key, in order, as they were read: no handler has had them.
            why: Why the row after all of them is refused.

        Raises:
            TargetBehind: What the row refers to is a read model that has not come as far.
            RowRejected: No event is known.
        """
        if not events:
            raise RowRejected(f"{self._reason(why)}; it is the row of key {key!r:.100}")
        low, high, kept = 0, len(events), before
        while high - low > 1:
            middle = (low + high) // 2
            hand = Hand(self._projection.name)
            row = await in_thread(self._folded, key, before, events[:middle], hand, hand=hand)
            refused = await self._changes.would_be_refused(Change(key, row))
            if refused is None:
                low, kept = middle, row
            else:
                high, why = middle, refused
        event = events[high - 1]
        if why.sqlstate == _REFERS:
            hand = Hand(self._projection.name)
            row = await in_thread(self._folded, key, before, events[:high], hand, hand=hand)
            await self.require_not_behind(event, why, Change(key, row))
        poison = PoisonEvent(
            self._projection.name, event.position, event.type, event.stream_id, self._reason(why)
        )
        return Traced(poison, kept)

    def _folded(
        self, key: Key, before: Row | None, events: Sequence[Event], hand: Hand
    ) -> Row | None:
        row, fields = before, self._projection.rows.key_fields(key)
        for event in hand.each(events):
            # Each is folded several times, and a handler may change what it is given.
            given = event._replace(data=deepcopy(event.data), metadata=deepcopy(event.metadata))
            row = self._projection.rows.apply(row, given, fields)
        return row

    def _reason(self, why: RefusedRow) -> str:
        by_hand = (
            self._declared is not None
            and why.constraint is not None
            and why.constraint not in self._declared
            and why.sqlstate != _REFERS
        )
        return why.reason(self._projection, by_hand=by_hand)

    async def require_not_behind(self, event: Event, why: RefusedRow, change: Change) -> None:
        """Tells a row that is refused for good from one whose target may come.

        Raises:
            TargetBehind: What the row refers to is a read model that has not come as far.
        """
        if why.sqlstate != _REFERS:
            return
        parameters = {
            "name": why.constraint,
            "projection": self._projection.name,
            "table": self._table,
        }
        others = (await self._connection.execute(_ENDS, parameters)).all()
        behind = [other for other in others if other.position < event.position]
        # One may have come as far between the refusal and this look: then the row is taken now.
        if others and not behind and await self._changes.would_be_refused(change) is None:
            behind = list(others)
        if behind:
            raise TargetBehind(
                self._projection.name, event.position, behind[0].projection, behind[0].position
            )
