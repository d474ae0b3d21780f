"""A run ends although something is attached to the table that it drops; it goes later."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.store.generations import own_schema
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import assert_oracle, leftovers, run, start, until, working
from tests.support.soaking import soak

SHADOW = f"{own_schema('counters', 2)}.counters"

HANGING = [
    (f"CREATE VIEW peek AS TABLE {SHADOW}", "DROP VIEW peek"),
    (f"CREATE MATERIALIZED VIEW peek AS TABLE {SHADOW}", "DROP MATERIALIZED VIEW peek"),
    (
        f"CREATE TABLE other (key text REFERENCES {SHADOW})",
        "DROP TABLE other",
    ),
    (
        f"CREATE FUNCTION rows() RETURNS SETOF {SHADOW} LANGUAGE sql AS 'TABLE {SHADOW}'",
        "DROP FUNCTION rows",
    ),
]


@pytest.mark.parametrize(("made", "taken_away"), [HANGING[0], *soak(*HANGING[1:])])
@pytest.mark.parametrize("signal", ["reject", *soak("cancel")])
@pytest.mark.usefixtures("counters_built")
async def test_a_run_whose_table_somebody_looks_at_ends_and_keeps_nobody_from_the_next(
    client: Client, database: Database, signal: str, made: str, taken_away: str
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )

        async def awaits() -> bool:
            return bool(await handle.query("status") == "awaiting_approval")

        await until(awaits)
        async with database.engine.begin() as connection:
            await connection.execute(text(made))
        await handle.signal(signal, "not like this")
        result = await asyncio.wait_for(handle.result(), 60)
        assert result.status == "cancelled"
        # The projection is free, and what is left is in nobody's way.
        again: Any = await run(client, database, "Rebuild", "counters")
        assert again.generation == 3
        async with database.engine.begin() as connection:
            await connection.execute(text(taken_away))
        await assert_oracle(database.engine, projection)
        assert [one for one in await leftovers(database.engine) if "lease" in one] == []
