"""Rollback: what was replaced comes back, with every event since; and can be left again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, working, write
from tests.support.versions import doubled, reshaped


async def columns(database: Database) -> list[str]:
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT column_name || ' ' || data_type FROM information_schema.columns "
                "WHERE table_schema = 'public' AND table_name = 'counters' ORDER BY column_name"
            )
        )
        return list(found.scalars())


async def refusal(client: Client, database: Database, request: dict[str, Any]) -> str:
    handle = await start(client, database, "Rollback", request)
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 60)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.non_retryable
    return failed.value.cause.message


@pytest.mark.usefixtures("counters_built")
async def test_rollback_brings_the_old_rows_back_with_the_events_since(
    client: Client, database: Database
) -> None:
    old, new = counters(batch_size=10), doubled()
    async with working(client, database, Registry([old, new])):
        rebuilt = await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, new)
        await write(database.engine, [*some(50, start_at=900), ("s1", "Removed", {"key": "k001"})])
        back = await run(client, database, "Rollback", "counters", to_version=1)
        assert rebuilt.generation == 2
        assert (back.status, back.generation) == ("rolled_back", 1)
        assert back.position == 451
        assert back.events_processed == 251
        assert "k001" not in await assert_oracle(database.engine, old)
        # In place, the version that built what is live folds.
        await write(database.engine, some(5, start_at=70))
        await run(client, database, "Backfill", "counters")
        await assert_oracle(database.engine, old)
        # And back again: the rollback is rolled back.
        await write(database.engine, some(5, start_at=7))
        again = await run(client, database, "Rollback", "counters")
        assert (again.status, again.generation) == ("rolled_back", rebuilt.generation)
        await assert_oracle(database.engine, new)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_schema_change_is_carried_out_and_taken_back(
    client: Client, database: Database
) -> None:
    old, new = counters(batch_size=10), reshaped()
    before = await columns(database)
    async with working(client, database, Registry([old, new])):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await handle.result()
        diff = await handle.query("diff")
        assert (diff["changed"], diff["added"], diff["removed"]) == (0, 0, 0)
        assert diff["columns_added"] == ["mean"]
        assert diff["columns_dropped"] == ["last"]
        assert [c.split(":")[0] for c in diff["columns_retyped"]] == ["count"]
        assert await columns(database) != before
        await assert_oracle(database.engine, new)
        await write(database.engine, some(3, start_at=50))
        await run(client, database, "Rollback", "counters")
        assert await columns(database) == before
        await assert_oracle(database.engine, old)


@pytest.mark.usefixtures("counters_built")
async def test_rollback_without_the_handlers_is_refused_unless_stale_is_allowed(
    client: Client, database: Database
) -> None:
    old, new = counters(), doubled()
    before = await rows_of(database.engine, old)
    async with working(client, database, registry_of(new)):
        result = await run(client, database, "Rebuild", "counters")
        assert result.note is not None
        assert "keep version 1 registered beside version 2" in result.note
        await write(database.engine, some(start_at=300))
        said = await refusal(client, database, {"projection": "counters"})
        assert "built by version 1, whose handlers are not registered (registered: 2)" in said
        assert "allow_stale" in said
        await assert_oracle(database.engine, new)
        back = await run(client, database, "Rollback", "counters", allow_stale=True)
    assert (back.status, back.generation, back.position) == ("rolled_back", 1, 200)
    assert await rows_of(database.engine, old) == before
    assert await leftovers(database.engine) == []


async def test_table_from_before_refold_is_kept_and_can_be_brought_back_as_it_is(
    client: Client, database: Database
) -> None:
    async def is_mine(table: str) -> bool:
        async with database.engine.connect() as connection:
            found: str | None = await connection.scalar(text(f"SELECT mine FROM {table}"))
        return found == "precious"

    async def not_copied() -> str:
        handle = await start(client, database, "Snapshot", {"projection": "counters"})
        return (await failure(handle)).message

    projection = counters()
    await write(database.engine, some())
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE counters (key text PRIMARY KEY, mine text)"))
        await connection.execute(text("INSERT INTO counters VALUES ('a', 'precious')"))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, projection)
        async with database.engine.connect() as connection:
            schema = await connection.scalar(
                text("SELECT schema_name FROM refold.generations WHERE status = 'retained'")
            )
        assert await is_mine(f"{schema}.counters")
        assert "was there before Refold" in await refusal(
            client, database, {"projection": "counters"}
        )
        await run(client, database, "Rollback", "counters", allow_stale=True)
        assert await is_mine("counters")
        # It has no checkpoint. From there on nothing is known of it but that it can be rebuilt.
        assert "before Refold" in await not_copied()
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, projection)
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP TABLE counters"))
        assert "has been dropped" in await not_copied()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"projection": "counters"}, "expected a retained generation to go back to, found none"),
    ({"projection": "nope"}, "expected one of (counters), got 'nope'"),
    ({"projection": "counters", "to_generation": 0}, "to_generation: "),
    ({"projection": "counters", "to_generation": 1, "to_version": 1}, "got both"),
    ({"projection": "counters", "criteria": "full_rebuild"}, "criteria: not a field"),
]


@pytest.mark.usefixtures("counters_built")
async def test_rollback_that_cannot_be_is_refused(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        for request, expected in REFUSED:
            assert expected in await refusal(client, database, request)
            assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_retention_keeps_as_many_generations_as_the_projection_wants(
    client: Client, database: Database
) -> None:
    projection = counters(retained_generations=2, partitions=1)
    async with working(client, database, registry_of(projection)):
        for _ in range(3):
            await run(client, database, "Rebuild", "counters")
        back = await run(client, database, "Rollback", "counters", to_generation=2)
        assert back.generation == 2
        said = await refusal(client, database, {"projection": "counters", "to_generation": 1})
        assert "got 1" in said
    async with database.engine.connect() as connection:
        kept = await connection.execute(
            text("SELECT generation, status, rows FROM refold.generations ORDER BY 1")
        )
        assert [tuple(row) for row in kept] == [
            (1, "discarded", 40),
            (2, "active", 40),
            (3, "retained", 40),
            (4, "retained", 40),
        ]
