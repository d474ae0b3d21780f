"""Rebuild and Backfill on real servers: rows equal the oracle, whatever happens on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold.messages.run.status import RunStatus
from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.soaking import soak


async def test_first_rebuild_makes_the_table(client: Client, database: Database) -> None:
    projection = counters(batch_size=7, partitions=3)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        result = await run(client, database, "Rebuild", "counters")
    assert (result.status, result.generation, result.position) == ("completed", 1, 200)
    assert result.events_processed == 200
    assert len(await assert_oracle(database.engine, projection)) == 40
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_rebuild_keeps_index_names_and_privileges_and_retains_the_old_table(
    client: Client, database: Database
) -> None:
    projection = counters()
    indexes = text("SELECT indexname FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1")
    reader = "reader_of_" + database.url.rsplit("/", 1)[1]
    may_read = text(f"SELECT has_table_privilege('{reader}', 'counters', 'SELECT')")
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            first = (await connection.execute(indexes)).scalars().all()
            await connection.execute(text(f"CREATE ROLE {reader}"))
            await connection.execute(text(f"GRANT SELECT ON counters TO {reader}"))
        await write(database.engine, some(start_at=1000))
        result = await run(client, database, "Rebuild", "counters")
    async with database.engine.begin() as connection:
        again = (await connection.execute(indexes)).scalars().all()
        assert await connection.scalar(may_read) is True
        await connection.execute(text(f"DROP OWNED BY {reader}"))
        await connection.execute(text(f"DROP ROLE {reader}"))
        kept = await connection.execute(
            text("SELECT generation, status, schema_name FROM refold.generations ORDER BY 1")
        )
        assert [tuple(row) for row in kept] == [
            (1, "retained", "refold_counters_g1"),
            (2, "active", "public"),
        ]
    assert first == again == ["counters_pkey", "counters_sum"]
    assert result.position == 400
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_backfill_in_place_heals_what_was_corrupted(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=9, partitions=3)
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0 WHERE key < 'k010'"))
            await connection.execute(text("DELETE FROM counters WHERE key > 'k030'"))
            await connection.execute(text("INSERT INTO counters VALUES ('a', 1, 1), ('z', 1, 1)"))
        result = await run(client, database, "Backfill", "counters", criteria="full_rebuild")
    assert result.generation == 1
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_incremental_update_applies_only_what_is_new(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(start_at=500))
        await write(database.engine, [("s1", "Removed", {"key": "k001"})])
        result = await run(client, database, "Backfill", "counters", criteria="incremental_update")
    assert (result.events_processed, result.position) == (201, 401)
    assert "k001" not in await assert_oracle(database.engine, projection)


async def test_sample_read_models_of_the_shop(
    client: Client, database: Database, shop: Registry
) -> None:
    from refold.source.files.sample_shop import seed_shop

    await seed_shop(database.engine, orders=100)
    async with working(client, database, shop):
        for kind, projection in zip(("Rebuild", "Backfill", "Rebuild"), shop, strict=True):
            result = await run(
                client, database, kind, projection.name, batch_size=100, max_concurrency=2
            )
            assert result.status == "completed"
            assert await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_poison_event_fails_the_run_and_leaves_everything_as_it_was(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        before = await rows_of(database.engine, projection)
        await write(database.engine, [("bad", "Broken", {"key": "k020"})])
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert await handle.query("status") == "failed"
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "PoisonEvent"
    for part in ("'counters'", "event 201", "Broken", "'bad'", "this event cannot be taken"):
        assert part in cause.message
    assert await rows_of(database.engine, projection) == before
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize(
    "how",
    ["signal", *soak("temporal", "terminate")],
)
@pytest.mark.usefixtures("counters_built")
async def test_cancelled_run_leaves_everything_as_it_was(
    client: Client, database: Database, how: str
) -> None:
    projection = counters(batch_size=1, partitions=2)
    async with working(client, database, registry_of(projection)):
        before = await rows_of(database.engine, projection)
        await write(database.engine, some(keys=400, start_at=10))
        handle = await start(client, database, "Rebuild", {"projection": "counters"})

        async def underway() -> bool:
            async with database.engine.connect() as connection:
                batches = text("SELECT coalesce(sum(batches), 0) FROM refold.partitions")
                return bool(await connection.scalar(batches))

        await until(underway)
        if how == "signal":
            await handle.signal("cancel", "changed my mind")
            result = await handle.result()
            assert (result.status, result.reason) == ("cancelled", "changed my mind")
            assert await handle.query("status") == "cancelled"
        elif how == "temporal":
            await handle.cancel()
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            assert await handle.query("status") == "cancelled"
        else:
            await handle.terminate("an operator in a hurry")
        assert await rows_of(database.engine, projection) == before
        # What a terminated run left is removed by the next one.
        again = await run(client, database, "Rebuild", "counters", batch_size=500)
    assert again.status is RunStatus.COMPLETED
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


async def test_second_run_is_refused_naming_the_holder(client: Client, database: Database) -> None:
    projection = counters(batch_size=1, partitions=1)
    await write(database.engine, some(keys=300))
    async with working(client, database, registry_of(projection)):
        first = await start(
            client,
            database,
            "Rebuild",
            {"projection": "counters"},
            workflow_id="one-" + database.url,
        )

        async def held() -> bool:
            async with database.engine.connect() as connection:
                return bool(await connection.scalar(text("SELECT count(*) FROM refold.leases")))

        await until(held)
        second = await start(client, database, "Backfill", {"projection": "counters"})
        with pytest.raises(WorkflowFailureError) as refused:
            await second.result()
        await first.signal("cancel")
        await first.result()
    cause = refused.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == "ProjectionBusy"
    assert f"one-{database.url}" in cause.message


BAD_INPUT: list[tuple[list[Any], str]] = [
    ([], "expected one JSON object"),
    ([{"projection": "counters"}, {"projection": "counters"}], "got 2 arguments"),
    ([None], "expected one JSON object"),
    (["counters"], "expected one JSON object"),
    ([{}], "projection: required"),
    ([{"projection": "nope"}], "expected one of (counters), got 'nope'"),
    ([{"projection": 5}], "projection: Input should be a valid string, got 5"),
    ([{"projection": "counters", "batch_size": "many"}], "batch_size: "),
    ([{"projection": "counters", "batch_size": 0}], "batch_size: "),
    ([{"projection": "counters", "speed": 1}], "speed: not a field of the request"),
    ([{"projection": "counters", "criteria": "all"}], "'custom_predicate' or 'dead_letters'"),
]


async def test_bad_input_fails_at_once(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        for inputs, expected in BAD_INPUT:
            for kind in ("Rebuild", "Backfill"):
                handle = await start(client, database, kind, *inputs)
                with pytest.raises(WorkflowFailureError) as failed:
                    await asyncio.wait_for(handle.result(), 60)
                assert isinstance(failed.value.cause, ApplicationError)
                assert expected in failed.value.cause.message, inputs
                assert failed.value.cause.non_retryable
            assert await leftovers(database.engine) == []
