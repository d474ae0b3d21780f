"""What is done otherwise for a projection that is said in SQL: its rows come from its select."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

from sqlalchemy import CHAR, ColumnElement, Enum, Select, String, Text, cast, select, type_coerce
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.engine.sql.culprit import key_at_fault
from refold.errors import RowRejected
from refold.projection.dead_letters import HeldKeys
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.projection.sql.declaration import SqlProjection
from refold.source.sql.spans import Span, keys_of, rows_of
from refold.store.tables.refused_row import RefusedRow, refused_row
from refold.store.tables.stored_types import stored

Rows = dict[Key, Row | None]

# Keys of one statement: their rows are in memory together.
_KEYS_AT_ONCE = 1000


class SelectFold:
    """Computes rows of whole keys by a projection's select.

    Args:
        projection: The projection.
    """

    def __init__(self, projection: SqlProjection) -> None:
        self.projection = projection
        self.table, _ = stored(projection.table)
        self._key = [str(column.name) for column in self.table.primary_key.columns]

    def typed(self, statement: Select[Any]) -> Select[Any]:
        """The statement's rows with the types by which rows are read and written."""
        made = statement.subquery("made")
        return select(*[_typed(made.c[c.name], c).label(c.name) for c in self.table.columns])

    def row_of(self, values: Sequence[Any]) -> Row:
        """A row of what `typed` has selected."""
        return dict(zip(self.table.columns.keys(), values, strict=True))

    def key_of(self, row: Row) -> Key:
        """A row's key."""
        parts = tuple(row[name] for name in self._key)
        return parts[0] if len(parts) == 1 else parts

    async def rows(
        self,
        connection: AsyncConnection,
        keys: Iterable[Key],
        *,
        upto: int,
        passed_over: Sequence[int],
    ) -> Rows:
        """The rows of some keys as of a position (inclusive); None for a key without a row.

        Raises:
            RowRejected: The select fails for one of them.
        """
        wanted = list(dict.fromkeys(keys))
        found: Rows = dict.fromkeys(wanted)
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            some = wanted[start : start + _KEYS_AT_ONCE]
            span = Span(upto, among=some, passed_over=passed_over)
            statement = self.typed(rows_of(self.projection, span))
            try:
                async with connection.begin_nested():
                    records = (await connection.execute(statement)).all()
            except DBAPIError as error:
                raise await self.failed(connection, error, span, some) from None
            for record in records:
                row = self.row_of(record)
                found[self.key_of(row)] = row
        return found

    async def keys(self, connection: AsyncConnection, span: Span) -> list[Key]:
        """The keys of a span of events."""
        found = await connection.execute(keys_of(self.projection, span))
        return [_key(parts) for *parts, _ in found]

    async def failed(
        self,
        connection: AsyncConnection,
        error: Exception,
        span: Span,
        keys: Sequence[Key] | None = None,
    ) -> Exception:
        """What to raise for an error of the select: it names the key, where that is found soon.

        Args:
            connection: In a transaction.
            error: What was raised; returned as it is when it is no row's fault.
            span: What the select was run for.
            keys: The keys among which it is; None when they are not known.
        """
        why = refused_row(error)
        if why is None:
            return error
        key, because = await key_at_fault(connection, self.projection, span, keys)
        return self.refused(key, because or why)

    def refused(self, key: Key | None, why: RefusedRow) -> RowRejected:
        """The error for a key whose row cannot be made, or is not taken."""
        name = self.projection.name
        of_key = "" if key is None else f"; it is the row of key {key!r:.100}"
        if why.sqlstate.startswith("22"):
            return RowRejected(
                f"projection {name!r}: its select fails: {why.said} ({why.sqlstate}){of_key}: let "
                "the select take what events hold, or pass over the event with skip_events"
            )
        return RowRejected(f"projection {name!r}: {why.reason(self.projection)}{of_key}")


def _typed(made: ColumnElement[Any], column: ColumnElement[Any]) -> ColumnElement[Any]:
    kind = column.type
    base = getattr(kind, "base", kind)
    # A cast to varchar(5) would cut what an assignment refuses.
    if isinstance(base, String) and not isinstance(base, CHAR | Enum):
        return type_coerce(cast(made, Text), kind)
    return cast(made, kind)


def _key(parts: Sequence[Any]) -> Key:
    return parts[0] if len(parts) == 1 else tuple(parts)


class SelectOracle:
    """Computes keys anew to compare them; it has what `refold.source.oracle.Oracle` has.

    Attributes:
        note: What was left out; None, as PostgreSQL computes all that it is asked for.
    """

    note: str | None = None

    def __init__(
        self,
        fold: SelectFold,
        connection: AsyncConnection,
        *,
        upto: int,
        passed_over: Sequence[int] = (),
        held: HeldKeys | None = None,
    ) -> None:
        self._fold = fold
        self._connection = connection
        self._upto = upto
        self._passed_over = passed_over
        self._held = held or HeldKeys()

    async def fold(self, keys: Iterable[Key]) -> AsyncGenerator[Rows, None]:
        """The rows of these keys, but for those that are held.

        Raises:
            RowRejected: The select fails for one of them.
        """
        asked = [key for key in dict.fromkeys(keys) if key not in self._held]
        yield await self._fold.rows(
            self._connection, asked, upto=self._upto, passed_over=self._passed_over
        )


def in_sql(projection: Projection) -> SelectFold | None:
    """How rows are computed of a projection that is said in SQL; None for one with handlers."""
    return SelectFold(projection) if isinstance(projection, SqlProjection) else None
