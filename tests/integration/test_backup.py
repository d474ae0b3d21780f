"""In place, with a backup: what stood there comes back when the run does not complete."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.soaking import soak


async def corrupted(database: Database) -> None:
    """What an operator typed by hand, and wants back if the repair fails."""
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET sum = -1 WHERE key < 'k010'"))
        await connection.execute(text("INSERT INTO counters VALUES ('by hand', 1, 1, 1)"))


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("how", ["poison", *soak("signal", "temporal")])
async def test_what_stood_there_is_brought_back(
    client: Client, database: Database, how: str
) -> None:
    # Slow, where it is stopped on the way.
    projection = counters(batch_size=40 if how == "poison" else 1, partitions=1)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(100, start_at=9))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await corrupted(database)
        before = await rows_of(database.engine, projection)
        if how == "poison":
            # Beyond the live table's checkpoint: all is repaired, then following fails.
            await write(database.engine, [("bad", "Broken", {"key": "k020"})])
        handle = await start(
            client,
            database,
            "Backfill",
            {"projection": "counters", "rollback_on_failure": True},
        )

        async def underway() -> bool:
            async with database.engine.connect() as connection:
                batches = text("SELECT coalesce(sum(batches), 0) FROM refold.partitions")
                return int(await connection.scalar(batches) or 0) > 3

        if how != "poison":
            await until(underway)
        if how == "signal":
            await handle.signal("cancel", "a mistake")
            result = await asyncio.wait_for(handle.result(), 60)
            assert (result.status, result.reason) == ("undone", "a mistake")
        else:
            if how == "temporal":
                await handle.cancel()
            with pytest.raises(WorkflowFailureError) as failed:
                await asyncio.wait_for(handle.result(), 60)
            if how == "poison":
                assert isinstance(failed.value.cause, ApplicationError)
                assert "what stood there before was brought back" in failed.value.cause.message
        assert await handle.query("status") == "undone"
        assert await rows_of(database.engine, projection) == before
        async with database.engine.connect() as connection:
            kept = await connection.scalar(
                text("SELECT count(*) FROM refold.generations WHERE status = 'retained'")
            )
        assert kept == 0
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_what_cannot_be_brought_back_is_told(client: Client, database: Database) -> None:
    projection = counters(batch_size=20, partitions=1)
    async with working(client, database, registry_of(projection), swap_patience_seconds=1):
        await write(database.engine, [("bad", "Broken", {"key": "k020"})])
        # Slow, so that there is time for somebody's view.
        request = {
            "projection": "counters",
            "rollback_on_failure": True,
            "events_per_second": 100,
        }
        handle = await start(client, database, "Backfill", request)

        async def copied() -> bool:
            async with database.engine.connect() as connection:
                found = text("SELECT count(*) FROM refold.partitions")
                return bool(await connection.scalar(found))

        await until(copied)
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE MATERIALIZED VIEW sums AS TABLE counters"))
        with pytest.raises(WorkflowFailureError) as failed:
            await asyncio.wait_for(handle.result(), 60)
        assert isinstance(failed.value.cause, ApplicationError)
        for part in ("event 201", "NOT brought back", "generation 2 has it", "materialized view"):
            assert part in failed.value.cause.message
        assert await handle.query("status") == "failed"
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP MATERIALIZED VIEW sums"))


@pytest.mark.usefixtures("counters_built")
async def test_backup_is_kept_to_roll_back_to(client: Client, database: Database) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        await corrupted(database)
        before = await rows_of(database.engine, projection)
        result = await run(client, database, "Backfill", "counters", create_backup=True)
        assert (result.status, result.generation) == ("completed", 1)
        await assert_oracle(database.engine, projection)
        back = await run(client, database, "Rollback", "counters")
        assert (back.status, back.generation) == ("rolled_back", 2)
    assert await rows_of(database.engine, projection) == before


@pytest.mark.usefixtures("counters_built")
async def test_backup_only_for_failure_is_gone_when_the_run_completes(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        await corrupted(database)
        await run(client, database, "Backfill", "counters", rollback_on_failure=True)
    await assert_oracle(database.engine, projection)
    async with database.engine.connect() as connection:
        kept = await connection.execute(
            text("SELECT generation, status FROM refold.generations ORDER BY 1")
        )
        assert [tuple(row) for row in kept] == [(1, "active"), (2, "discarded")]
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_what_is_brought_back_does_not_wait_for_the_throttle(
    client: Client, database: Database
) -> None:
    """Nor goes it by a low limit: readers see a table that is half repaired meanwhile."""
    projection = counters(batch_size=1)
    moved = "(SELECT position FROM refold.generations WHERE status = 'active') > 200"
    async with working(client, database, registry_of(projection)):
        await write(
            database.engine,
            [("s1", "Added", {"key": "k001", "n": 1}), ("bad", "Broken", {"key": "k020"})],
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await run(
                client,
                database,
                "Backfill",
                "counters",
                rollback_on_failure=True,
                batch_size=1,
                throttle={"hold_while": moved, "check_seconds": 60},
                from_position=200,
            )
    assert isinstance(failed.value.cause, ApplicationError)
    assert "what stood there before was brought back" in failed.value.cause.message
