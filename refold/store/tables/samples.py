"""Draws some keys of a table at random."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, func, select, tablesample
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.key import Key

# From a table of up to so many rows, keys are drawn from all; from a larger one, from some pages.
_ALL = 20_000


async def sample_keys(
    connection: AsyncConnection, table: Table, *, count: int, rows: int
) -> list[Key]:
    """Up to `count` keys of a table, drawn at random.

    Args:
        connection: Any connection.
        table: The table, with its schema.
        count: How many keys; fewer when the table has fewer.
        rows: How many rows the table has, about: of a large one only some pages are read.
    """
    keys = []
    if rows > _ALL:
        pages = tablesample(table, func.system(max(100 * _ALL / rows, 0.001)))
        keys = await _drawn(connection, table, pages, count)
    if len(keys) < count:
        # The table is small, or its pages are mostly empty.
        keys = await _drawn(connection, table, table, count)
    return keys


async def _drawn(connection: AsyncConnection, table: Table, source: Any, count: int) -> list[Key]:
    columns = [source.c[column.name] for column in table.primary_key.columns]
    statement = select(*columns).order_by(func.random()).limit(count)
    rows = [tuple(row) for row in await connection.execute(statement)]
    return [row[0] if len(row) == 1 else row for row in rows]
