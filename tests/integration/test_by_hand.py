"""What people do by hand to tables and schemas, before a run and during it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, text
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from refold import BackfillPolicy, Event, Projection, Row
from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.soaking import mostly_soak
from tests.support.versions import reshaped


async def execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def failure(handle: WorkflowHandle[Any, Any]) -> str:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 60)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.message


async def waits(handle: WorkflowHandle[Any, Any], what: str) -> None:
    async def said() -> bool:
        return what in "; ".join((await handle.query("progress"))["waiting_for"])

    await until(said)


@pytest.mark.usefixtures("counters_built")
async def test_what_is_added_while_the_swap_waits_moves_too(
    client: Client, database: Database
) -> None:
    """It waits for a temporary view first, then for a session that is idle, each by name."""
    projection = counters()
    async with working(client, database, registry_of(projection)):
        async with database.engine.connect() as idle, database.engine.connect() as session:
            await session.execute(text("CREATE TEMP VIEW mine AS SELECT * FROM counters"))
            await session.commit()
            await idle.execute(text("SELECT count(*) FROM counters"))
            handle = await start(client, database, "Rebuild", {"projection": "counters"})
            await waits(handle, "temporary view")
            await session.execute(text("DROP VIEW mine"))
            await session.commit()
            await waits(handle, "idle in transaction")
            await execute(
                database,
                "GRANT SELECT ON counters TO PUBLIC",
                "COMMENT ON TABLE counters IS 'said late'",
                "CREATE UNIQUE INDEX late ON counters (key, last)",
            )
        result = await asyncio.wait_for(handle.result(), 60)
    assert result.generation == 2
    async with database.engine.connect() as connection:
        told = text(
            "SELECT obj_description('counters'::regclass), to_regclass('public.late')::text, "
            "(SELECT relacl::text FROM pg_class WHERE oid = 'counters'::regclass)"
        )
        comment, index, privileges = (await connection.execute(told)).one()
    assert (comment, index) == ("said late", "late")
    assert "=r/" in privileges


@pytest.mark.usefixtures("counters_built")
async def test_readers_do_not_stall_for_somebody_at_the_table_to_come(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with database.engine.connect() as idle:
            await idle.execute(text("SELECT count(*) FROM refold_counters_g1.counters"))
            handle = await start(client, database, "Rollback", {"projection": "counters"})
            await waits(handle, "idle in transaction")
            assert len(await rows_of(database.engine, projection)) == 40
        assert (await asyncio.wait_for(handle.result(), 60)).generation == 1


@pytest.mark.usefixtures("counters_built")
async def test_a_replaced_table_keeps_nobody_from_deleting(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await execute(
            database,
            "CREATE TABLE keys (key text PRIMARY KEY)",
            "INSERT INTO keys SELECT key FROM counters",
            "ALTER TABLE counters ADD CONSTRAINT known FOREIGN KEY (key) REFERENCES keys",
        )
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, [("s1", "Removed", {"key": "k001"})])
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await execute(database, "DELETE FROM keys WHERE key = 'k001'")
        # It comes back with what it goes back to.
        await run(client, database, "Rollback", "counters")
        with pytest.raises(Exception, match="known"):
            await execute(database, "DELETE FROM keys WHERE key = 'k002'")
    await assert_oracle(database.engine, projection)


BY_HAND = {
    "column": ("ALTER TABLE counters ADD mine text", "column mine was added by hand"),
    "index": ("CREATE INDEX mine ON counters (last)", "index public.mine uses column last"),
    "constraint": (
        "ALTER TABLE counters ADD CONSTRAINT mine CHECK (last >= 0)",
        "constraint mine on table public.counters uses column last",
    ),
}


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("kind", mostly_soak(*BY_HAND, suite=1))
async def test_what_another_version_cannot_have_is_refused_at_once(
    client: Client, database: Database, kind: str
) -> None:
    statement, expected = BY_HAND[kind]
    old = counters()
    await execute(database, statement)
    async with working(client, database, Registry([old, reshaped()])):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        assert expected in await failure(handle)
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM counters")) == 40
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_live_table_that_was_dropped_is_built_anew(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await execute(database, "DROP TABLE counters")
        for request in ({}, {"create_backup": True}):
            handle = await start(
                client, database, "Backfill", {"projection": "counters", **request}
            )
            assert "it has been dropped: start a Rebuild" in await failure(handle)
        assert (await run(client, database, "Rebuild", "counters")).generation == 2
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_retained_table_that_was_dropped_is_not_gone_back_to(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await execute(database, "DROP SCHEMA refold_counters_g1 CASCADE")
        handle = await start(client, database, "Rollback", {"projection": "counters"})
        assert "somebody has dropped it" in await failure(handle)
    await assert_oracle(database.engine, projection)


def odd(schema: str | None) -> Projection:
    """A projection whose names need quoting, in a schema of its own."""
    projection = Projection(
        "odd",
        table=Table(
            "Odd :one",
            MetaData(schema=schema),
            Column("the :key", Text, primary_key=True),
            Column('100% "n" :n', Integer, nullable=False),
        ),
        key="data.key",
        backfill=BackfillPolicy(batch_size=3),
    )

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        return {'100% "n" :n': event.data["n"]}

    return projection


async def test_odd_names_and_a_schema_of_its_own(client: Client, database: Database) -> None:
    projection = odd("Shop :x")
    await write(database.engine, some(10))
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "odd"})
        assert "expected schema 'Shop :x' to be there: create it" in await failure(handle)
        await execute(database, 'CREATE SCHEMA "Shop :x"')
        await run(client, database, "Rebuild", "odd")
        await execute(
            database,
            """CREATE VIEW "a :view" AS SELECT "the :key" AS ":k" FROM "Shop :x"."Odd :one" """
            """WHERE "the :key" <> ' :x 100%'""",
            """CREATE POLICY "p :p" ON "Shop :x"."Odd :one" USING ("the :key" <> ':y')""",
            """CREATE INDEX "i :i" ON "Shop :x"."Odd :one" ((lower("the :key") || ' :z%'))""",
        )
        await run(client, database, "Rebuild", "odd")
        await write(database.engine, some(10, start_at=50))
        await run(client, database, "Backfill", "odd", create_backup=True)
        await assert_oracle(database.engine, projection)
        await run(client, database, "Rollback", "odd")
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []
