"""The rows of a snapshot that is kept as changes, from its generation's table and the changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import BigInteger, Boolean, Column, MetaData, Table, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.columns.declared import written_columns
from refold.projection.declaration import Projection, Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.generations import Generation
from refold.store.snapshots import changes
from refold.store.snapshots.kept import Kept
from refold.store.tables import read_models
from refold.store.tables.read_models import quoted
from refold.store.tables.rows import RowStore

_ORDER, _THERE, _NAME = "refold_order", "refold_there", "refold_changes"
_TEMPORARY = "pg_temp"


@dataclass(frozen=True)
class _Parts:
    """The two parts of a snapshot's rows, each as a select, and their columns."""

    unchanged: str
    changed: str
    columns: str


async def fill(
    connection: AsyncConnection,
    projection: Projection,
    copy: Generation,
    source: Generation,
    kept: Kept,
) -> int:
    """Fills a generation's bare table with a snapshot's rows; returns how many.

    Args:
        connection: In a transaction whose statements all see one state.
        projection: In the version that built the rows.
        copy: The generation that is filled.
        source: The generation that the snapshot is of.
        kept: The snapshot.
    """
    into = quoted(copy.schema_name, copy.table_name)
    count = 0
    async with _staged(connection, projection, source, kept, copy.schema_name) as parts:
        for part in (parts.unchanged, parts.changed):
            made = await connection.exec_driver_sql(f"INSERT INTO {into} ({parts.columns}) {part}")
            count += made.rowcount
    return count


async def read(
    connection: AsyncConnection, projection: Projection, source: Generation, kept: Kept | None
) -> dict[Key, Row]:
    """The rows of a snapshot by key, all in memory; see `fill`.

    It needs the right to make a temporary table.

    Args:
        connection: In a transaction whose statements all see one state.
        projection: In the version that built the rows.
        source: The generation that the snapshot is of, or is.
        kept: The snapshot; None for one that is a copy.
    """
    rows = RowStore(read_models.physical(projection, source.schema_name))
    if kept is None:
        records = await connection.execute(select(rows.table))
        return {rows.key_of(row): row for row in map(rows.row_of, records)}
    found: dict[Key, Row] = {}
    async with _staged(connection, projection, source, kept, _TEMPORARY) as parts:
        for part in (parts.unchanged, parts.changed):
            statement = text(part.replace(":", "\\:")).columns(*rows.table.columns)
            for record in await connection.execute(select(statement.subquery())):
                row = rows.row_of(record)
                found[rows.key_of(row)] = row
    return found


@asynccontextmanager
async def _staged(
    connection: AsyncConnection,
    projection: Projection,
    source: Generation,
    kept: Kept,
    schema: str,
) -> AsyncIterator[_Parts]:
    """The changes since the snapshot, in a table of the same types, for the time being."""
    columns = written_columns(projection.table)
    names = ", ".join(quoted(column.name) for column in columns)
    old, changed = quoted(source.schema_name, source.table_name), quoted(schema, _NAME)
    await connection.exec_driver_sql(
        f"CREATE TABLE {changed} AS SELECT 0::bigint AS {_ORDER}, false AS {_THERE}, "
        f"{names} FROM {old} WITH NO DATA"
    )
    staged = Table(
        _NAME,
        MetaData(),
        Column(_ORDER, BigInteger),
        Column(_THERE, Boolean),
        *[Column(c.name, c.type, primary_key=c.primary_key) for c in columns],
        schema=schema,
    )
    await _load(connection, RowStore(staged), RowStore(projection.table), kept)
    keys = [quoted(name) for name in projection.key_columns]
    same = " AND ".join(f"c.{key} = s.{key}" for key in keys)
    listed = ", ".join(keys)
    yield _Parts(
        unchanged=f"SELECT {names} FROM {old} s WHERE NOT EXISTS "
        f"(SELECT FROM {changed} c WHERE {same})",
        changed=f"SELECT {names} FROM (SELECT DISTINCT ON ({listed}) * FROM {changed} "
        f"ORDER BY {listed}, {_ORDER}) first WHERE {_THERE}",
        columns=names,
    )
    await connection.exec_driver_sql(f"DROP TABLE {changed}")


async def _load(connection: AsyncConnection, staged: RowStore, rows: RowStore, kept: Kept) -> None:
    driver, order = await raw(connection), 0
    empty: Row = dict.fromkeys(rows.written)
    async for changed in changes.since(connection, kept):
        made = []
        for values in changed["rows"]:
            order += 1
            row = rows.thawed(changed["columns"], values)
            made.append({_ORDER: order, _THERE: True, **row})
        for key in changed["none"]:
            order += 1
            made.append({_ORDER: order, _THERE: False, **empty, **rows.thawed(rows.key_names, key)})
        await staged.load(driver, made)
