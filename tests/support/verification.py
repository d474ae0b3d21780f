"""Generations that are built, changed behind the back of Refold, and verified."""

from __future__ import annotations

from sqlalchemy import text

from refold import Projection, Row
from refold.engine.cutover.verification import verify
from refold.messages.run.diff import Diff
from refold.runtime.database import raw
from refold.store import generations
from refold.store.generations import BUILDING
from refold.store.tables import read_models
from refold.store.tables.rows import RowStore
from tests.support.databases import Database
from tests.support.runs import events_upto

POSITION = 10**6


async def build(database: Database, projection: Projection, rows: list[Row] | None = None) -> None:
    """A generation with a table of its own, of the events or of these rows."""
    if rows is None:
        rows = list(projection.fold(await events_upto(database.engine, projection)).values())
    async with database.engine.begin() as connection:
        made = await generations.create(
            connection,
            projection.name,
            version=projection.version,
            status=BUILDING,
            schema_name=None,
            table_name=projection.table.name,
            position=POSITION,
        )
        await read_models.create_shadow(connection, projection, made.schema_name)
        store = RowStore(read_models.physical(projection, made.schema_name))
        await store.load(await raw(connection), rows)
        await read_models.add_indexes(connection, projection, made.schema_name)


async def verified(database: Database, projection: Projection, *, live: bool = True) -> Diff:
    """The last generation built, against the one before."""
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin():
            known = await generations.of_projection(connection, projection.name)
            return await verify(
                connection,
                projection,
                shadow=known[-1],
                live=known[-2] if live else None,
                live_table_schema="public",
                position=POSITION,
            )


async def change(database: Database, projection: Projection, statement: str) -> None:
    """Does something to the last generation's table, which the statement calls `new`."""
    async with database.engine.begin() as connection:
        last = (await generations.of_projection(connection, projection.name))[-1]
        name = read_models.quoted(last.schema_name, last.table_name)
        await connection.execute(text(statement.replace("new", name)))
