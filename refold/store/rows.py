"""Reading and writing the rows of a read model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Numeric,
    Select,
    Table,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import JSON

from refold.database import DIALECT
from refold.key import Key
from refold.projection import Row
from refold.store.read_models import quoted


class RowStore:
    """One physical table's rows.

    Args:
        table: The table, with its schema.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._key = list(table.primary_key.columns)
        self._names = [column.name for column in table.columns]
        self._corrections = [
            (column.name, correct)
            for column in table.columns
            if (correct := _correction(column.type)) is not None
        ]
        self._values = itemgetter(*self._names)
        self._binders = [
            (index, binder)
            for index, column in enumerate(table.columns)
            if (binder := _binder(column.type)) is not None
        ]
        self._upsert = self._make_upsert()

    @property
    def name(self) -> str:
        """The table's name with its schema, quoted."""
        return quoted(self.table.schema or "", self.table.name)

    @property
    def key_names(self) -> list[str]:
        """The key's columns."""
        return [column.name for column in self._key]

    # -- reading -----------------------------------------------------------------------------

    async def read(self, connection: AsyncConnection, keys: Sequence[Key]) -> dict[Key, Row]:
        """The rows of these keys, by key; keys without a row are absent."""
        if not keys:
            return {}
        statement = select(self.table).where(self._among(keys))
        names = [column.name for column in self._key]
        found: dict[Key, Row] = {}
        for record in await connection.execute(statement):
            row = self._row(record)
            parts = tuple(row[name] for name in names)
            found[parts[0] if len(parts) == 1 else parts] = row
        return found

    async def find(self, connection: AsyncConnection, keys: Select[Any]) -> list[Key]:
        """Those of the keys that a statement finds which have a row."""
        statement = select(*self._key).where(self._compared().in_(keys))
        rows = [tuple(row) for row in await connection.execute(statement)]
        return [row[0] if len(row) == 1 else row for row in rows]

    def _row(self, record: Any) -> Row:
        row = dict(record._mapping)
        for name, correct in self._corrections:
            if row[name] is not None:
                row[name] = correct(row[name])
        return row

    # -- writing -----------------------------------------------------------------------------

    async def load(self, driver: asyncpg.Connection[Any], rows: Sequence[Row]) -> None:
        """Adds rows by COPY; the table must not have any of them yet."""
        if not rows:
            return
        records = list(map(self._values, rows))
        if len(self._names) == 1:
            records = [(value,) for value in records]
        if self._binders:
            records = [self._bound(record) for record in records]
        await driver.copy_records_to_table(
            self.table.name, schema_name=self.table.schema, columns=self._names, records=records
        )

    async def insert(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Adds rows; the table must not have any of them yet."""
        if rows:
            await connection.execute(insert(self.table), list(rows))

    async def upsert(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Puts rows in the place of those with the same key; equal rows are left alone."""
        if rows:
            await connection.execute(self._upsert, list(rows))

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
    ) -> None:
        """Deletes the rows with low < key <= high (None: no bound), except those to keep.

        With `among`, only those of these keys.
        """
        condition = [] if among is None else [self._among(among)]
        if low is not None:
            condition.append(self._compared() > self._literal(low))
        if high is not None:
            condition.append(self._compared() <= self._literal(high))
        if keep:
            condition.append(~self._among(keep))
        await connection.execute(delete(self.table).where(*condition))

    # -- statements --------------------------------------------------------------------------

    def _make_upsert(self) -> Any:
        statement = insert(self.table)
        others = [column for column in self.table.columns if not column.primary_key]
        if not others:
            return statement.on_conflict_do_nothing()
        new = [statement.excluded[column.name] for column in others]
        changed = None
        # json (unlike jsonb) has no equality: such rows are always written.
        if not any(type(column.type) is JSON for column in others):
            changed = tuple_(*others).is_distinct_from(tuple_(*new))
        return statement.on_conflict_do_update(
            index_elements=self._key,
            set_=dict(zip([column.name for column in others], new, strict=True)),
            where=changed,
        )

    def _compared(self) -> Any:
        return self._key[0] if len(self._key) == 1 else tuple_(*self._key)

    def _literal(self, key: Key) -> Any:
        parts = key if len(self._key) > 1 else (key,)
        values = [literal(part, c.type) for part, c in zip(parts, self._key, strict=True)]
        return values[0] if len(values) == 1 else tuple_(*values)

    def _among(self, keys: Sequence[Key]) -> ColumnElement[bool]:
        # Arrays, one a key column: a list of values would run into the limit of 32,767 parameters.
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

    # -- an unfinished row, between two batches ----------------------------------------------

    async def freeze(self, connection: AsyncConnection, row: Row | None) -> Any:
        """A row as JSON made by PostgreSQL, exact for every type; None for no row."""
        if row is None:
            return None
        values = [_frozen(row[c.name], c.type).label(c.name) for c in self.table.columns]
        inner = select(*values).subquery("r")
        return await connection.scalar(select(func.to_jsonb(text("r"))).select_from(inner))

    async def thaw(self, connection: AsyncConnection, frozen: Any) -> Row | None:
        """The row that `freeze` made JSON of."""
        if frozen is None:
            return None
        name = quoted(self.table.schema or "", self.table.name)
        names = ", ".join(quoted(n) for n in self._names)
        # A colon in a name is not the beginning of a parameter.
        listed, of = names.replace(":", "\\:"), name.replace(":", "\\:")
        statement = text(f"SELECT {listed} FROM jsonb_populate_record(NULL::{of}, :frozen)")
        bound = statement.bindparams(bindparam("frozen", frozen, type_=JSONB))
        typed = bound.columns(*self.table.columns)
        return self._row((await connection.execute(typed)).one())


def _frozen(value: Any, kind: Any) -> ColumnElement[Any]:
    bound = literal(value, kind)
    # As a JSON number its digits would pass through a Python float.
    return cast(bound, Text) if isinstance(kind, Numeric) else bound


def _correction(kind: Any) -> Callable[[Any], Any] | None:
    """What makes a value as the driver reads it the one that `settle_for` makes; None: it is."""
    if isinstance(kind, Uuid):
        return _as_uuid
    if isinstance(kind, Numeric) and kind.asdecimal and (kind.scale or 0) <= 0:
        return _written_out
    return None


def _as_uuid(value: Any) -> UUID:
    return UUID(int=value.int)  # the driver has a class of its own, which orjson does not know


def _written_out(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    return Decimal(int(value)) if isinstance(exponent, int) and exponent > 0 else value


def _binder(kind: Any) -> Callable[[Any], Any] | None:
    processor: Callable[[Any], Any] | None = kind.dialect_impl(DIALECT).bind_processor(DIALECT)
    return processor
