"""Where a read model stands: where it was first put, whatever a session's path says later."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from sqlalchemy import Column, Enum, MetaData, Table, Text, text
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.errors import InvalidProjection
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed
from tests.support.runs import leftovers, run, start, working, write
from tests.support.soaking import mostly_soak


def marks(table: str = "marks", *, schema: str | None = None, version: int = 1) -> Projection:
    made = Projection(
        "marks",
        version=version,
        table=Table(
            table, MetaData(schema=schema), Column("id", Text, primary_key=True), Column("n", Text)
        ),
        key="stream_id",
    )

    @made.on("Marked")
    def marked(row: Row | None, event: Event) -> Row:
        return {"n": event.data["n"]}

    return made


async def mark(database: Database, n: str) -> None:
    await write(database.engine, [(stream, "Marked", {"n": n}) for stream in ("a", "b")])


async def execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    async with database.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(f"TABLE {table} ORDER BY 1"))]


async def places(database: Database, table: str) -> list[str]:
    """In which schemas there are tables of that name, but for generations' own."""
    async with database.engine.connect() as connection:
        found = text(
            "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = :name "
            "AND relkind = 'r' AND relnamespace::regnamespace::text NOT LIKE 'refold\\_%' "
            "ORDER BY 1"
        )
        return list((await connection.execute(found, {"name": table})).scalars())


async def with_setting(database: Database, setting: str, role: str | None = None) -> Database:
    """The database for sessions begun after a setting was made, perhaps as another role."""
    name = database.url.rsplit("/", 1)[1]
    await execute(database, f"ALTER DATABASE {name} SET {setting}")
    await database.engine.dispose()
    url = database.url if role is None else database.url.replace("//postgres@", f"//{role}@")
    settings = database.settings.model_copy(update={"database_url": url})
    return dataclasses.replace(
        database, url=url, settings=settings, engine=make_engine(settings, activities=10)
    )


def registry(projection: Projection) -> Registry:
    return registry_of(projection)


@pytest.mark.parametrize("table", mostly_soak("partitions", "marks", "events", suite=1))
async def test_a_role_called_refold_makes_no_table_among_refolds_own(
    client: Client, database: Database, table: str
) -> None:
    # Other tests of this server have a role of that name, too.
    await execute(
        database,
        "DO $$ BEGIN CREATE ROLE refold LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
        "ALTER ROLE refold SUPERUSER",
    )
    own = await with_setting(database, 'search_path = "$user", public', role="refold")
    await mark(database, "1")
    projection = marks(table)
    before = await places(database, table)
    try:
        async with working(client, own, registry(projection)):
            await run(client, own, "Rebuild", "marks")
            await mark(database, "2")
            await run(client, own, "Backfill", "marks", criteria="incremental_update")
            await run(client, own, "Rebuild", "marks")
    finally:
        await own.engine.dispose()
        await execute(database, "ALTER ROLE refold NOSUPERUSER")
    assert await places(database, table) == sorted([*before, "public"])
    assert await rows(database, f"public.{table}") == [("a", "2"), ("b", "2")]
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize(
    "path",
    mostly_soak(
        *("''", "app, public", '"$user"', "app", "refold", "pg_catalog", "no_such_schema"),
        suite=1,
    ),
)
async def test_a_path_that_changes_leads_the_next_generation_nowhere_else(
    client: Client, database: Database, path: str
) -> None:
    projection = marks()
    await mark(database, "1")
    async with working(client, database, registry(projection)):
        await run(client, database, "Rebuild", "marks")
    # A schema of the role's own appears later, too.
    await execute(database, "CREATE SCHEMA app", "CREATE SCHEMA postgres")
    changed = await with_setting(database, f"search_path = {path}")
    await mark(database, "2")
    try:
        async with working(client, changed, registry(projection)):
            await run(client, changed, "Rebuild", "marks")
    finally:
        await changed.engine.dispose()
    assert await places(database, "marks") == ["public"]
    assert await rows(database, "public.marks") == [("a", "2"), ("b", "2")]


@pytest.mark.parametrize("recorded", mostly_soak("refold", "app", suite=1))
async def test_a_table_stays_where_its_generation_is_recorded(
    client: Client, database: Database, recorded: str
) -> None:
    await mark(database, "1")
    await execute(database, "CREATE SCHEMA app")
    async with working(client, database, registry(marks())):
        await run(client, database, "Rebuild", "marks")
        # As it was built when sessions had a path of the role's.
        await execute(
            database,
            f"ALTER TABLE public.marks SET SCHEMA {recorded}",
            f"UPDATE refold.generations SET schema_name = '{recorded}' WHERE status = 'active'",
        )
        await mark(database, "2")
        await run(client, database, "Rebuild", "marks")
        assert await places(database, "marks") == [recorded]
        assert await rows(database, f"{recorded}.marks") == [("a", "2"), ("b", "2")]
        await run(client, database, "Rollback", "marks")
        assert await places(database, "marks") == [recorded]


async def test_a_table_declared_elsewhere_than_it_stands_is_refused_in_the_plan(
    client: Client, database: Database
) -> None:
    await mark(database, "1")
    await execute(database, "CREATE SCHEMA app", "CREATE TABLE app.marks (id text)")
    async with working(client, database, registry(marks())):
        await _a_table_of_its_name_elsewhere_is_told_before_the_first_build(client, database)
    await execute(database, "DROP TABLE app.marks")
    async with working(client, database, registry(marks(schema="app", version=2))):
        handle = await start(client, database, "Rebuild", {"projection": "marks"})
        error = await failed(handle)
        assert error.type == "InvalidRequest"
        assert "declared in schema 'app'" in error.message
        assert await places(database, "marks") == ["public"]
        # As it says.
        for statement in error.message.split("move it: ")[1].split("; "):
            await execute(database, statement)
        await run(client, database, "Rebuild", "marks")
    assert await places(database, "marks") == ["app"]


@pytest.mark.parametrize(
    "schema",
    ["refold", "pg_catalog", "pg_temp", "pg_toast", "information_schema", "refold_marks_g1"],
)
def test_a_table_in_somebody_elses_schema_is_refused_as_it_is_declared(schema: str) -> None:
    with pytest.raises(InvalidProjection, match=f"expected a schema of your own, '{schema}'"):
        marks(schema=schema)


def test_versions_may_name_the_default_schema_or_not() -> None:
    made = Registry([marks(), marks(schema="public", version=2)])
    assert made.get("marks").version == 2


async def _a_table_of_its_name_elsewhere_is_told_before_the_first_build(
    client: Client, database: Database
) -> None:
    asked = {"projection": "marks", "dry_run": True}
    handle = await start(client, database, "Rebuild", asked)
    await asyncio.wait_for(handle.result(), 60)
    plan = await handle.query("plan")
    assert "a table of its name is in app, too" in plan["note"]
    await run(client, database, "Rebuild", "marks")
    handle = await start(client, database, "Rebuild", asked)
    await asyncio.wait_for(handle.result(), 60)
    assert (await handle.query("plan"))["note"] is None


async def test_rights_that_are_missing_are_named_before_any_work(
    client: Client, database: Database
) -> None:
    await mark(database, "1")
    name = database.url.rsplit("/", 1)[1]
    await execute(
        database,
        "DROP ROLE IF EXISTS refold_poor",
        "CREATE ROLE refold_poor LOGIN",
        "GRANT pg_read_all_data, pg_write_all_data TO refold_poor",
    )
    poor = await with_setting(database, "application_name = 'poor'", role="refold_poor")
    cures = [f"GRANT CREATE ON DATABASE {name} TO refold_poor"]
    cures += ["GRANT CREATE ON SCHEMA public TO refold_poor"]
    try:
        async with working(client, poor, registry(marks())):
            for cure in cures:
                error = await failed(await start(client, poor, "Rebuild", {"projection": "marks"}))
                assert error.type == "SwapRefused"
                assert cure in error.message
                await execute(database, cure)
            await run(client, poor, "Rebuild", "marks")
    finally:
        await poor.engine.dispose()
    assert await rows(database, "public.marks") == [("a", "1"), ("b", "1")]


async def test_a_type_that_is_elsewhere_is_found_where_the_address_says(
    client: Client, database: Database
) -> None:
    await execute(database, "CREATE SCHEMA app", "CREATE TYPE app.mood AS ENUM ('1', '2')")
    made = Projection(
        "marks",
        table=Table(
            "marks",
            MetaData(),
            Column("id", Text, primary_key=True),
            Column("n", Enum("1", "2", name="mood")),
        ),
        key="stream_id",
    )
    made.on("Marked")(marks().handlers["Marked"])
    await mark(database, "1")
    async with working(client, database, registry(made)):
        error = await failed(await start(client, database, "Rebuild", {"projection": "marks"}))
    assert "there is one in schema app" in error.message
    options = error.message.split("give the address ")[1]
    settings = database.settings.model_copy(update={"database_url": f"{database.url}{options}"})
    told = dataclasses.replace(database, settings=settings, engine=make_engine(settings))
    try:
        async with working(client, told, registry(made)):
            await run(client, told, "Rebuild", "marks")
    finally:
        await told.engine.dispose()
    assert await rows(database, "public.marks") == [("a", "1"), ("b", "1")]
