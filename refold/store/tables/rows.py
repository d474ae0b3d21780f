"""Reading and writing the rows of a read model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import asyncpg
import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    String,
    Table,
    Text,
    cast,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.columns.kind import same
from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.tables.copy_text import copy_text_of
from refold.store.tables.many.at_once import AtOnce, at_once_of
from refold.store.tables.many.by_keys import by_keys_of
from refold.store.tables.many.with_checkpoint import RowsWithCheckpoint
from refold.store.tables.read_models import quoted
from refold.store.tables.stored_types import driver_binder, has_coarse_equality, stored

# PostgreSQL keeps large values of a table's rows in a table of their own.
_ANY_LARGE = text(
    "SELECT pg_relation_size(reltoastrelid) > 0 FROM pg_class WHERE oid = to_regclass(:name)"
)


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


class RowStore:
    """One physical table's rows.

    Args:
        table: The table, with its schema.
    """

    def __init__(self, table: Table) -> None:
        self.table, self._kinds = stored(table)
        self._key = list(self.table.primary_key.columns)
        self._names = list(self._kinds)
        self._values = itemgetter(*self._names)
        self._binders = [
            (index, binder)
            for index, kind in enumerate(self._kinds.values())
            if (binder := driver_binder(kind)) is not None
        ]
        self._freezers = [
            (index, kind)
            for index, kind in enumerate(self._kinds.values())
            if kind.freeze is not same or kind.takes_none
        ]
        self._copy_text = copy_text_of(self._kinds)
        self._by_keys = by_keys_of(self.table, self._kinds)
        self._declared = table

    # Made when they are first asked for: compiling takes milliseconds, and few need both.

    @cached_property
    def _upsert(self) -> Insert:
        return self._placed(insert(self.table))

    @cached_property
    def _at_once(self) -> AtOnce | None:
        return at_once_of(self._declared, self.table, self._kinds, self._placed)

    @property
    def name(self) -> str:
        """The table's name with its schema, quoted."""
        return quoted(self.table.schema or "", self.table.name)

    @property
    def written(self) -> list[str]:
        """The columns that are written; others are computed by PostgreSQL."""
        return list(self._names)

    @property
    def columns_as_json(self) -> str:
        """The columns that are written, as the text of a JSON array."""
        return orjson.dumps(self._names).decode()

    @property
    def key_names(self) -> list[str]:
        """The key's columns."""
        return [column.name for column in self._key]

    # -- reading -----------------------------------------------------------------------------

    async def read(self, connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, Row]:
        """The rows of these keys, by key; keys without a row are absent."""
        if not keys:
            return {}
        if self._by_keys is not None:
            driver = await raw(connection)
            if driver.is_in_transaction():  # SQLAlchemy's begins with its first statement
                return await self._by_keys.read(driver, keys)
        statement = select(self.table).where(self._among(keys))
        names = [str(column.name) for column in self._key]
        found: dict[Key, Row] = {}
        for record in await connection.execute(statement):
            row = dict(zip(self._names, record, strict=True))
            parts = tuple(row[name] for name in names)
            found[parts[0] if len(parts) == 1 else parts] = row
        return found

    def row_of(self, record: Sequence[Any]) -> Row:
        """The row of a record that a select of the table has given."""
        return dict(zip(self._names, record, strict=True))

    def key_of(self, row: Row) -> Key:
        """A row's key."""
        parts = tuple(row[str(column.name)] for column in self._key)
        return parts[0] if len(parts) == 1 else parts

    async def sizes(self, connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, int]:
        """The bytes of these keys' rows as text, by key; nothing when no row is large.

        A row is large if some of it is stored apart from the others: above 2,000 bytes.
        """
        name = quoted(self.table.schema or "", self.table.name)
        if not keys or not await connection.scalar(_ANY_LARGE, {"name": name}):
            return {}
        sizes = [
            func.coalesce(func.octet_length(cast(column, Text)), 0) for column in self.table.columns
        ]
        total = sum(sizes[1:], start=sizes[0])
        statement = select(total, *self._key).where(self._among(keys))
        return {
            key[0] if len(key) == 1 else tuple(key): size
            for size, *key in await connection.execute(statement)
        }

    async def find(self, connection: AsyncConnection, keys: Select[Any]) -> list[Key]:
        """The keys that a statement finds and that have a row."""
        statement = select(*self._key).where(self._compared().in_(keys))
        rows = [tuple(row) for row in await connection.execute(statement)]
        return [row[0] if len(row) == 1 else row for row in rows]

    async def having_row(self, connection: AsyncConnection, keys: Sequence[Key]) -> set[Key]:
        """Those of these keys that have a row."""
        if not keys:
            return set()
        rows = await connection.execute(select(*self._key).where(self._among(keys)))
        return {row[0] if len(row) == 1 else tuple(row) for row in rows}

    # -- writing -----------------------------------------------------------------------------

    async def load(self, driver: asyncpg.Connection[Any], rows: Sequence[Row]) -> None:
        """Adds rows by COPY; the table must not have any of them yet."""
        if not rows:
            return
        if self._copy_text is not None:
            await driver.copy_to_table(
                self.table.name,
                schema_name=self.table.schema,
                columns=self._names,
                source=_each(self._copy_text.pieces(rows)),
                format="text",
            )
            return
        records = list(map(self._values, rows))
        if len(self._names) == 1:
            records = [(value,) for value in records]
        if self._binders:
            records = [self._bound(record) for record in records]
        await driver.copy_records_to_table(
            self.table.name, schema_name=self.table.schema, columns=self._names, records=records
        )

    def with_checkpoint(self) -> RowsWithCheckpoint | None:
        """What adds rows together with a partition's checkpoint; None where some columns do not."""
        return None if self._at_once is None else RowsWithCheckpoint(self.table, self._at_once)

    async def insert(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Adds rows; the table must not have any of them yet."""
        if rows:
            await connection.execute(insert(self.table), list(rows))

    async def upsert(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Puts rows in the place of those with the same key; equal rows are left alone."""
        if rows:
            await connection.execute(self._upsert, list(rows))

    async def upsert_at_once(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """As `upsert`, by as few statements as the columns' types allow."""
        driver = await raw(connection)
        if self._at_once is None or not driver.is_in_transaction():
            await self.upsert(connection, rows)
            return
        for sql, columns in self._at_once.statements(rows):
            await driver.execute(sql, *columns)

    async def delete(self, connection: AsyncConnection, keys: Sequence[Key]) -> None:
        """Deletes the rows of these keys, as far as there are any."""
        if keys:
            await connection.execute(delete(self.table).where(self._among(keys)))

    async def delete_others(
        self,
        connection: AsyncConnection,
        low: Key | None,
        high: Key | None,
        keep: Sequence[Key],
        *,
        among: Sequence[Key] | None = None,
        returning: bool = False,
        collation: str | None = None,
    ) -> dict[Key, Row]:
        """Deletes the rows with low < key <= high (None: no bound), except those to keep.

        With `among`, only rows of these keys; with `collation`, the range is by that order of text.

        Returns:
            The rows that were deleted, by key, if asked for; else nothing.
        """
        condition = [] if among is None else [self._among(among)]
        if low is not None:
            condition.append(self._compared(collation) > self._literal(low))
        if high is not None:
            condition.append(self._compared(collation) <= self._literal(high))
        if keep:
            condition.append(~self._among(keep))
        statement = delete(self.table).where(*condition)
        if not returning:
            await connection.execute(statement)
            return {}
        deleted = await connection.execute(statement.returning(*self.table.columns))
        rows = [self.row_of(record) for record in deleted]
        return {self.key_of(row): row for row in rows}

    # -- statements --------------------------------------------------------------------------

    def _placed(self, statement: Insert) -> Insert:
        """An insert that puts its rows in the place of those that are there and differ."""
        others = [column for column in self.table.columns if not column.primary_key]
        if not others:
            return statement.on_conflict_do_nothing()
        new = [statement.excluded[column.name] for column in others]
        changed = tuple_(*map(self._told_apart, others)).is_distinct_from(
            tuple_(*map(self._told_apart, new))
        )
        return statement.on_conflict_do_update(
            index_elements=self._key,
            set_=dict(zip([column.name for column in others], new, strict=True)),
            where=changed,
        )

    def _told_apart(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """The column, in a form whose equality tells apart all that a handler tells apart."""
        kind = self._kinds[str(column.key)]
        return cast(column, Text) if has_coarse_equality(kind) else column

    def _compared(self, collation: str | None = None) -> Any:
        key: list[ColumnElement[Any]] = [*self._key]
        if collation is not None:
            key = [c.collate(collation) if isinstance(c.type, String) else c for c in key]
        return key[0] if len(key) == 1 else tuple_(*key)

    def _literal(self, key: Key) -> Any:
        parts = key if len(self._key) > 1 else (key,)
        values = [literal(part, c.type) for part, c in zip(parts, self._key, strict=True)]
        return values[0] if len(values) == 1 else tuple_(*values)

    def _among(self, keys: Sequence[Key]) -> ColumnElement[bool]:
        # An array for each key column: a list of values would run into the limit of 32,767
        # parameters.
        parts = [key if len(self._key) > 1 else (key,) for key in keys]
        arrays = [
            literal([part[i] for part in parts], ARRAY(column.type))
            for i, column in enumerate(self._key)
        ]
        names = [f"k{i}" for i in range(len(arrays))]
        listed = func.unnest(*arrays).table_valued(*names).render_derived()
        among: ColumnElement[bool] = self._compared().in_(select(*listed.c))
        return among

    def _bound(self, record: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(record)
        for index, binder in self._binders:
            values[index] = binder(values[index])
        return tuple(values)

    # -- rows as JSON ------------------------------------------------------------------------

    def freeze(self, row: Row | None) -> Any:
        """A row as JSON, exact for every type; None for no row."""
        if row is None:
            return None
        return {
            name: None if row[name] is None and not kind.takes_none else kind.freeze(row[name])
            for name, kind in self._kinds.items()
        }

    def thaw(self, frozen: Any) -> Row | None:
        """The row that `freeze` made JSON of."""
        if frozen is None:
            return None
        return {
            name: None if frozen[name] is None and not kind.takes_none else kind.thaw(frozen[name])
            for name, kind in self._kinds.items()
        }

    def frozen(self, row: Row) -> list[Any]:
        """A row as a JSON array, exact for every type, in the order of `written`."""
        values = [*self._values(row)] if len(self._names) > 1 else [row[self._names[0]]]
        for index, kind in self._freezers:
            if values[index] is not None or kind.takes_none:
                values[index] = kind.freeze(values[index])
        return values

    def thawed(self, names: Sequence[str], values: Sequence[Any]) -> Row:
        """The values of these columns of which `frozen`, or `frozen_key`, made JSON."""
        kinds = self._kinds
        return {
            name: None if value is None and not kinds[name].takes_none else kinds[name].thaw(value)
            for name, value in zip(names, values, strict=True)
        }

    def frozen_key(self, key: Key) -> list[Any]:
        """A key as a JSON array of its parts, exact for every type."""
        parts = key if len(self._key) > 1 else (key,)
        kinds = [self._kinds[str(column.name)] for column in self._key]
        return [kind.freeze(part) for kind, part in zip(kinds, parts, strict=True)]

    def thawed_key(self, frozen: Sequence[Any]) -> Key:
        """The key of which `frozen_key` made JSON."""
        return self.key_of(self.thawed([str(column.name) for column in self._key], frozen))
