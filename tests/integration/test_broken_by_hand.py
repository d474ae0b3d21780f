"""Rows that break what somebody has added by hand: that is named, with who has added it."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, MetaData, Table, Text, UniqueConstraint
from temporalio.client import Client

from refold import Event, Projection, Row
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed
from tests.support.live import live, until_status
from tests.support.runs import leftovers, rows_of, run, start, working, write

# What is added by hand, to a table whose rows are all right.
ADDED = {
    "unique index": "CREATE UNIQUE INDEX mine ON people (email)",
    "unique index of an expression": "CREATE UNIQUE INDEX mine ON people (lower(email))",
    "partial unique index": "CREATE UNIQUE INDEX mine ON people (email) WHERE email <> ''",
    "unique constraint": "ALTER TABLE people ADD CONSTRAINT mine UNIQUE (email)",
    "check": "ALTER TABLE people ADD CONSTRAINT mine CHECK (id <> 'b' OR email <> 'a@x')",
    "exclusion": "ALTER TABLE people ADD CONSTRAINT mine EXCLUDE USING btree (email WITH =)",
}

SOME = ("unique index of an expression",)


def people() -> Projection:
    made = Projection(
        "people",
        table=Table(
            "people",
            MetaData(),
            Column("id", Text, primary_key=True),
            Column("email", Text),
            UniqueConstraint("id", "email", name="declared"),
        ),
        key="stream_id",
    )

    @made.on("Named")
    def named(row: Row | None, event: Event) -> Row:
        return {"email": event.data["email"]}

    return made


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(statement, id=what, marks=() if what in SOME else pytest.mark.soak)
        for what, statement in ADDED.items()
    ],
)
async def test_it_is_named_on_every_route(
    client: Client, database: Database, statement: str
) -> None:
    projection = people()
    await write(
        database.engine, [("a", "Named", {"email": "a@x"}), ("b", "Named", {"email": "b@x"})]
    )
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "people")
        async with database.engine.begin() as connection:
            await connection.exec_driver_sql(statement)
        before = await rows_of(database.engine, projection)
        await write(database.engine, [("b", "Named", {"email": "a@x"})])

        rebuilt = await failed(await start(client, database, "Rebuild", {"projection": "people"}))
        assert rebuilt.type == "SwapRefused"
        assert "mine" in rebuilt.message
        assert "the new rows break what somebody has added to the live table by hand" in (
            rebuilt.message
        )
        followed = {"projection": "people", "criteria": "incremental_update"}
        refused = await failed(await start(client, database, "Backfill", followed))
        async with live(client, database, projection="people") as handle:
            await until_status(handle, "failed")
            error = (await handle.query("health"))["error"]
        for kind, message in ((refused.type, refused.message), (error["type"], error["message"])):
            assert kind == "PoisonEvent"
            assert "event 3 (Named of stream 'b')" in message
            assert "'mine'" in message or '"mine"' in message
            assert "it was added by hand, 'people' does not declare it" in message
            assert "a@x" not in message
        assert await rows_of(database.engine, projection) == before
    assert await leftovers(database.engine) == []
