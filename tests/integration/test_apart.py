"""Live projections whose checkpoint is kept in a store: their life, runs, switching, and losses."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import Snapshots
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveHealth
from refold.store.checkpoints.record import Record
from tests.chaos.test_live_chaos import assert_right_now
from tests.support.apart import Following
from tests.support.checkpoint_stores import STORES
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import Live, live, until_position, until_status
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    last,
    queue,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.snapshots import assert_all_kept
from tests.support.soaking import soak
from tests.support.stored import Stored, apart, appending


class Died(Exception):
    """A worker's end between the commit of its rows and the write of its checkpoint."""


def die() -> None:
    raise Died


async def until_note(handle: Live, *words: str) -> None:
    async def says() -> bool:
        health = await handle.query("health", result_type=LiveHealth)
        note = (health.report.note if health.report else None) or ""
        return health.status == "needs_rebuild" and all(word in note for word in words)

    await until(says)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("store", ["redis", *soak("sql", "dynamodb", "cosmosdb")])
async def test_a_live_projection_keeps_its_checkpoint_in_the_store(
    client: Client, database: Database, stored: Stored, store: str
) -> None:
    projection = apart(store)
    async with working(client, database, registry_of(projection), **stored.of(store)):
        assert (await stored.active()).away is None
        async with live(client, database) as handle:
            await stored.until_away(store)
            await write(database.engine, some(start_at=7))
            await until_position(database, await last(database))

            async def moved() -> bool:
                async with stored.record() as (_, _, record):
                    return record is not None and record.position == await last(database)

            await until(moved)
            place = (await stored.active()).away
            assert place is not None
            manager = ProjectionManager(client, database.url, task_queue=queue(database))
            assert await manager.get_checkpoint_place("counters") == place["place"]
            assert (await manager.get_health("counters")).standing.kept_in == place["place"]
            await handle.signal("stop")
            await until_status(handle, "stopped")
            await assert_oracle(database.engine, projection)
            await handle.signal("start")
            await write(database.engine, some(start_at=9))
            await until_position(database, await last(database))
    assert await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    "kinds", [("Backfill", "Rebuild"), *soak((("Snapshot", "Rebuild", "Rollback", "Backfill"),))]
)
async def test_every_run_brings_the_checkpoint_home_and_it_is_handed_back(
    client: Client, database: Database, stored: Stored, kinds: tuple[str, ...]
) -> None:
    projection = apart("redis", partitions=2)
    async with (
        working(client, database, registry_of(projection), **stored.of("redis")),
        live(client, database),
    ):
        for kind in kinds:
            await stored.until_away("redis")
            before = (await stored.active()).away
            await write(database.engine, some(start_at=3))
            assert (await run(client, database, kind, "counters")).status in (
                "completed",
                "rolled_back",
            )
            await stored.until_away("redis")
            after = (await stored.active()).away
            assert after is not None
            assert before is not None
            assert after["name"] != before["name"]
            await until_position(database, await last(database))
            await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    "stores", [(None, "redis", "sql", None), *soak(((None, *STORES, None, *STORES[::-1], None),))]
)
async def test_storages_are_switched_under_appends(
    client: Client, database: Database, stored: Stored, stores: tuple[str | None, ...]
) -> None:
    for named in filter(None, stores):
        stored.of(named)
    settings = stored.settings
    async with live(client, database), appending(database):
        for store in stores:
            projection = apart(store)
            async with working(client, database, registry_of(projection), **settings):
                before = await last(database)

                async def arrived(store: str | None = store, before: int = before) -> bool:
                    active = await stored.active()
                    there = None if active.away is None else active.away["store"]
                    return there == store and (active.position or 0) > before

                await until(arrived)
                await assert_right_now(database.engine, projection)
    async with (
        working(client, database, registry_of(projection), **settings),
        live(client, database),
    ):
        await until_position(database, await last(database))
    assert await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("store", ["redis", *soak("sql", "dynamodb", "cosmosdb")])
async def test_a_store_that_has_lost_the_checkpoint_is_not_guessed_after(
    client: Client, database: Database, stored: Stored, store: str
) -> None:
    projection = apart(store)
    async with (
        working(client, database, registry_of(projection), **stored.of(store)),
        live(client, database) as handle,
    ):
        await stored.until_away(store)
        await write(database.engine, some(start_at=3))
        await until_position(database, await last(database))
        async with stored.record() as (kept, name, record):
            await kept.drop(name)
        await write(database.engine, some(start_at=5))
        await until_note(handle, "kept in ", "lost it", "--from-position")
        rows = await assert_oracle(database.engine, projection)
        # What needs a checkpoint is refused, and changes nothing.
        request = {"projection": "counters", "criteria": "incremental_update"}
        refused = await start(client, database, "Backfill", request)
        with pytest.raises(WorkflowFailureError) as failed:
            await asyncio.wait_for(refused.result(), 60)
        assert isinstance(failed.value.cause, ApplicationError)
        assert "the store has lost it: start a Rebuild" in failed.value.cause.message
        assert await assert_oracle(database.engine, projection) == rows
        # Somebody says up to where all is there.
        assert record is not None
        fields = {"criteria": "from_event_number", "from_position": record.position}
        await run(client, database, "Backfill", "counters", **fields)
        await stored.until_away(store)
        await until_position(database, await last(database))
        await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("behind", [1, *soak(10_000)])
async def test_a_store_that_is_behind_is_not_believed(
    client: Client, database: Database, stored: Stored, behind: int
) -> None:
    projection = apart("redis")
    async with (
        working(client, database, registry_of(projection), **stored.of("redis")),
        live(client, database) as handle,
    ):
        await stored.until_away("redis")
        await write(database.engine, some(start_at=3))
        await until_position(database, await last(database))
        await handle.signal("stop")
        await until_status(handle, "stopped")
        async with stored.record() as (kept, name, record):
            assert record is not None
            # As a failover leaves it that has lost the last writes.
            early = record.position - min(behind, record.position)
            old = Record(early, record.position - 1, record.fence)
            assert await kept.advance(name, record, old)
        await write(database.engine, some(start_at=5))
        await handle.signal("start")
        await until_note(handle, "the store is behind", "refold backfill counters")
        await assert_oracle(database.engine, projection)
        await run(client, database, "Rebuild", "counters")
        await stored.until_away("redis")
        await until_position(database, await last(database))
        await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_the_database_of_a_backup_is_not_taken_for_what_the_store_has(
    client: Client, database: Database, stored: Stored
) -> None:
    projection = apart("redis")
    settings = database.settings.model_copy(update=stored.of("redis"))
    async with working(client, database, registry_of(projection), **stored.settings):
        await Following(database.engine, projection, settings).catch_up()
        before = await stored.active()
        await write(database.engine, some(start_at=3))
        await Following(database.engine, projection, settings).catch_up()
        async with database.engine.begin() as connection:
            await connection.execute(
                text("UPDATE refold.generations SET position = :p, fence = fence - 1"),
                {"p": before.position},
            )
        async with live(client, database) as handle:
            await until_note(handle, "the database is behind")
            assert await checkpoint(database.engine, projection) == before.position


@pytest.mark.usefixtures("counters_built")
async def test_keys_of_which_nothing_is_certain_are_folded_anew(
    client: Client, database: Database, stored: Stored
) -> None:
    """By a path, by a stream, and by a function that gives several keys."""
    projections = [counters(), *siblings()]
    for projection in projections:
        projection.with_checkpoints(store="redis").backfill_from_beginning(batch_size=300)
    async with working(client, database, registry_of(*projections), **stored.of("redis")):
        for sibling in projections[1:]:
            await run(client, database, "Rebuild", sibling.name)
    settings = database.settings.model_copy(update=stored.settings)
    followings = [Following(database.engine, one, settings) for one in projections]
    for following in followings:
        await following.catch_up()
    await write(database.engine, some(keys=9, start_at=3))
    for following in followings:
        projection, name = following.projection, following.projection.table.name
        with pytest.raises(Died):
            await Following(database.engine, projection, settings, between=die).catch_up()
        # Whatever stands in the rows of the batch's keys: they are recomputed, the others are not.
        async with database.engine.begin() as connection:
            spoilt = await connection.execute(
                text(f"UPDATE {name} SET count = count + 70 WHERE key IN ('k003', 's3', 'odd')")
            )
        assert spoilt.rowcount > 0, name
        await following.catch_up()
        assert await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_worker_with_another_address_says_where_the_checkpoint_is(
    client: Client, database: Database, stored: Stored
) -> None:
    projection = apart("redis")
    settings = database.settings.model_copy(update=stored.of("redis"))
    await Following(database.engine, projection, settings).catch_up()
    await write(database.engine, some(start_at=3))
    elsewhere = {"redis_url": "redis://:another-p4ssword@127.0.0.1:1/0"}
    async with working(client, database, registry_of(projection), **elsewhere):
        async with live(client, database) as handle:
            await until_status(handle, "failed")
            health = await handle.query("health", result_type=LiveHealth)
            assert health.error is not None
            assert health.error.type == "ConfigurationError"
            place = (await stored.active()).away
            assert place is not None
            assert f"its checkpoint is in {place['place']}" in health.error.message
            assert "this worker's address for 'redis' is redis://127.0.0.1:1/0" in (
                health.error.message
            )
            assert "p4ss" not in health.error.message
        # The store was given up for good: a rebuild needs nothing of it.
        await run(client, database, "Rebuild", "counters")
        assert (await stored.active()).away is None
        assert await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_snapshots_of_what_was_uncertain_are_of_their_moments(
    client: Client, database: Database, stored: Stored
) -> None:
    policy = Snapshots.automatic(every_n_events=70, keep_last=None)
    projection = apart("redis").with_snapshots(policy)
    settings = database.settings.model_copy(update=stored.of("redis"))
    async with working(client, database, registry_of(projection), **stored.settings):
        for number in range(5):
            await write(database.engine, some(keys=30, each=1, start_at=number))
            with pytest.raises(Died):
                await Following(database.engine, projection, settings, between=die).catch_up()
        await Following(database.engine, projection, settings).catch_up()
        await assert_oracle(database.engine, projection)
        assert len(await assert_all_kept(database, projection)) >= 3
        await ProjectionManager(client, database.url, task_queue=queue(database)).create_snapshot(
            "counters"
        )
        assert await assert_oracle(database.engine, projection)
