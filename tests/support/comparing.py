"""Two tables to be compared, the live one and the new one, and their comparison."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Projection, Row
from refold.runtime.database import raw
from refold.store.tables import read_models
from refold.store.tables.comparable import Place
from refold.store.tables.comparison import Comparison, compare
from refold.store.tables.rows import RowStore
from tests.support.databases import Database

LIVE, SHADOW = "public", "shadow"


@asynccontextmanager
async def snapshot(database: Database) -> AsyncIterator[AsyncConnection]:
    """A connection as a verification has it: one snapshot for everything; nothing of it is left."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        transaction = await connection.begin()
        yield connection
        await transaction.rollback()


def projection_of(*columns: Column[Any]) -> Projection:
    return Projection(
        "things", table=Table("the things", MetaData(), *columns), key=lambda event: None
    )


async def fill(
    connection: AsyncConnection, projection: Projection, schema: str, rows: Sequence[Row]
) -> None:
    """The projection's table with these rows, as a rebuild makes it."""
    if schema == LIVE:
        await connection.execute(text(f"DROP SCHEMA IF EXISTS {LIVE} CASCADE"))
    await read_models.create_shadow(connection, projection, schema)
    store = RowStore(read_models.physical(projection, schema))
    await store.load(await raw(connection), rows)
    await read_models.add_indexes(connection, projection, schema)


async def compared(connection: AsyncConnection, projection: Projection) -> Comparison:
    table = projection.table.name
    return await compare(
        connection, projection, live=Place(LIVE, table), shadow=Place(SHADOW, table)
    )


async def by_sql(
    connection: AsyncConnection, columns: tuple[str, str], values: tuple[str, str]
) -> Comparison:
    """Compares two tables of one row, with a key and these columns, given as SQL."""
    for schema, column, value in zip((LIVE, SHADOW), columns, values, strict=True):
        await connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
        await connection.execute(text(f"CREATE SCHEMA {schema}"))
        for statement in (
            f'CREATE TABLE {schema}."the things" (id integer PRIMARY KEY, v {column})',
            f'INSERT INTO {schema}."the things" VALUES (1, {value})',
        ):
            await connection.exec_driver_sql(statement)
    return await compared(connection, projection_of(Column("id", Integer, primary_key=True)))
