"""Snapshots that are restored: every event since is folded, and the snapshot stays."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure, frozen, statuses
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.soaking import soak
from tests.support.versions import doubled, reshaped


@pytest.mark.usefixtures("counters_built")
async def test_restored_rows_have_every_event_since_and_the_snapshot_stays(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        made = await run(client, database, "Snapshot", "counters", requested_by="a test")
        assert (made.status, made.is_snapshot) == ("completed", True)
        assert (made.generation, made.position, made.events_processed) == (2, 200, 0)
        before = await frozen(database, projection, 2)
        await write(database.engine, [*some(50, start_at=900), ("s1", "Removed", {"key": "k001"})])
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0"))
        for generation in (3, 4):  # a snapshot is not used up
            back = await run(client, database, "Rollback", "counters", to_generation=2)
            assert (back.status, back.is_snapshot) == ("rolled_back", False)
            assert (back.generation, back.position) == (generation, 451)
            assert back.events_processed == 251
            assert "k001" not in await assert_oracle(database.engine, projection)
            assert await frozen(database, projection, 2) == before
        # The restored table is followed like any other.
        await write(database.engine, some(3, start_at=5))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
    await assert_oracle(database.engine, projection)
    assert await frozen(database, projection, 2) == before
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize(
    "how",
    ["poison", *soak("cancel", "terminate")],
)
@pytest.mark.usefixtures("counters_built")
async def test_restore_that_comes_to_nothing_leaves_everything_as_it_was(
    client: Client, database: Database, how: str
) -> None:
    # Slow, where it is stopped on the way.
    projection = counters(batch_size=40 if how == "poison" else 1)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Snapshot", "counters")
        before = await rows_of(database.engine, projection)
        await write(database.engine, some(100, start_at=9))
        if how == "poison":
            await write(database.engine, [("bad", "Broken", {"key": "k020"})])
        request = {"projection": "counters", "to_generation": 2}
        handle = await start(client, database, "Rollback", request)
        if how == "poison":
            failed = await failure(handle)
            assert failed.type == "PoisonEvent"
            assert "event 701" in failed.message
        else:

            async def following() -> bool:
                return bool((await handle.query("progress"))["phase"] == "following")

            await until(following)
            if how == "cancel":
                await handle.signal("cancel", "changed my mind")
                result = await asyncio.wait_for(handle.result(), 60)
                assert (result.status, result.generation) == ("cancelled", 1)
            else:
                await handle.terminate("an operator in a hurry")
        assert await rows_of(database.engine, projection) == before
        # What a terminated run left is removed by the next one.
        await run(client, database, "Snapshot", "counters")
    assert await statuses(database) == [
        (1, "active"),
        (2, "snapshot"),
        (3, "discarded"),
        (4, "snapshot"),
    ]
    assert await frozen(database, projection, 2) == before
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_snapshot_of_an_older_version_is_restored_by_its_own_handlers(
    client: Client, database: Database
) -> None:
    old, new = counters(batch_size=10), reshaped()
    async with working(client, database, Registry([old, new])):
        await run(client, database, "Snapshot", "counters")
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, new)
        await write(database.engine, some(7, start_at=70))
        back = await run(client, database, "Rollback", "counters", to_generation=2)
        assert (back.generation, back.position) == (4, 235)
        await assert_oracle(database.engine, old)
        await frozen(database, old, 2)
        # The way back to the new version is the generation that was replaced.
        await run(client, database, "Rollback", "counters")
        await assert_oracle(database.engine, new)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_what_has_no_handlers_is_neither_copied_nor_restored(
    client: Client, database: Database
) -> None:
    old, new = counters(), doubled()
    async with working(client, database, registry_of(old)):
        await run(client, database, "Snapshot", "counters")
    async with working(client, database, registry_of(new)):
        said = await failure(await start(client, database, "Snapshot", {"projection": "counters"}))
        assert "built by version 1, which is not registered (registered: 2)" in said.message
        request = {"projection": "counters", "to_generation": 2, "allow_stale": True}
        said = await failure(await start(client, database, "Rollback", request))
        assert "a snapshot of version 1, whose handlers are not registered" in said.message
    await assert_oracle(database.engine, old)
    assert await statuses(database) == [(1, "active"), (2, "snapshot")]
    assert await leftovers(database.engine) == []
