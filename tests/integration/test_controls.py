"""What a run can be told while it goes on: pause, resume, limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from refold.manager.projections import NoRun, ProjectionManager
from refold.projection.registry import Registry
from refold.requests.limits import Limits
from tests.support.counters import counters, registry_of
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, queue, run, start, until, working, write
from tests.support.soaking import soak
from tests.support.steering import processed, progress_of, spread, until_status


async def moved_within(database: Database, seconds: float) -> int:
    before = await processed(database)
    await asyncio.sleep(seconds)  # that nothing happens meanwhile, or something does
    return await processed(database) - before


async def test_what_it_was_told_outlives_workers(
    client: Client, database: Database, tmp_path: Path
) -> None:
    """Paused, limits changed, killed, resumed, paused, cancelled: each of these stands."""
    await write(database.engine, counted_events(300))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        request = {"projection": "counting", "events_per_second": 200, "batch_size": 50}
        handle = await start(client, database, "Rebuild", request)
        await until(lambda: _some(database), 30)
        await manager.pause("counting")
        await until_status(handle, "paused")
        assert await moved_within(database, 0.7) == 0
        changed = await manager.set_limits("counting", Limits(max_concurrency=1, batch_size=20))
        assert changed == Limits(batch_size=20, max_concurrency=1, events_per_second=200)
        worker.kill()
        workers.start()
        await until_status(handle, "paused")
        assert await moved_within(database, 0.7) == 0
        shown = await progress_of(handle)
        assert shown.limits == changed
        assert shown.estimated_seconds_remaining is None
        await manager.resume("counting")
        await until_status(handle, "running")
        before = await processed(database)
        await until(lambda: _more(database, before), 30)
        assert (await progress_of(handle)).limits == changed
        await manager.pause("counting")
        await manager.cancel_backfill("counting", "enough")
        result = await asyncio.wait_for(handle.result(), 60)
    assert (result.status, result.reason) == ("cancelled", "enough")
    assert await leftovers(database.engine) == []
    with pytest.raises(NoRun, match="has ended"):
        await manager.pause("counting")


async def _some(database: Database) -> bool:
    return await processed(database) > 0


async def _more(database: Database, than: int) -> bool:
    return await processed(database) > than


async def test_events_a_second_are_kept_over_ten_seconds(
    client: Client, database: Database
) -> None:
    await write(database.engine, counted_events(1500))
    async with working(client, database, Registry([counting])):
        request = {"projection": "counting", "events_per_second": 2000}
        handle = await start(client, database, "Rebuild", request)
        await until(lambda: _more(database, 1500), 30)
        began, before = monotonic(), await processed(database)
        await asyncio.sleep(10)  # what the rate is measured over
        rate = (await processed(database) - before) / (monotonic() - began)
        print(f"{rate:.0f} events a second, of 2000")
        assert rate == pytest.approx(2000, rel=0.1)
        shown = await progress_of(handle)
        assert shown.events_per_second == pytest.approx(2000, rel=0.3)
        # No limit any more: it takes effect within the batch, which would take seconds else.
        await handle.execute_update("set_limits", {"events_per_second": 0})
        began = monotonic()
        result = await asyncio.wait_for(handle.result(), 30)
        print(f"the rest without a limit in {monotonic() - began:.1f} s")
    assert result.status == "completed"
    await assert_oracle(database.engine, counting)


async def test_partitions_above_the_limit_step_aside(client: Client, database: Database) -> None:
    projection = counters(batch_size=5, partitions=4, max_concurrency=4, events_per_second=100)
    await write(database.engine, spread(2000))
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        await until(lambda: _more(database, 40), 30)
        await handle.execute_update("set_limits", {"max_concurrency": 1})
        assert len(await _moving(database)) == 1
        await handle.execute_update("set_limits", {"max_concurrency": 3})
        assert len(await _moving(database)) == 3
        await handle.execute_update("set_limits", {"events_per_second": 0, "batch_size": 1000})
        assert (await asyncio.wait_for(handle.result(), 60)).status == "completed"
    await assert_oracle(database.engine, projection)


async def _moving(database: Database) -> set[int]:
    """The partitions that moved within a second, after a moment for the change to be heard."""
    await asyncio.sleep(0.7)
    before = await _by_partition(database)
    await asyncio.sleep(1)
    after = await _by_partition(database)
    return {number for number in after if after[number] > before[number]}


async def _by_partition(database: Database) -> dict[int, int]:
    async with database.engine.connect() as connection:
        found = text("SELECT partition, processed_events::int FROM refold.partitions")
        return {row[0]: row[1] for row in await connection.execute(found)}


WRONG: list[tuple[Any, str]] = [
    ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1, got 0"),
    ({"batches": 5}, "batches: not a field of the request; accepted: batch_size"),
    ({}, "expected one or more of batch_size, max_concurrency, events_per_second"),
    ("fast", "limits: expected one JSON object such as"),
    ({"events_per_second": -1}, "greater than or equal to 0"),
]


async def test_wrong_limits_are_refused(client: Client, database: Database) -> None:
    await write(database.engine, spread(50))
    projection = counters(events_per_second=10)
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        for limits, expected in WRONG:
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await handle.execute_update("set_limits", limits)
            assert isinstance(refused.value.cause, ApplicationError)
            assert expected in refused.value.cause.message, limits
        await handle.signal("cancel")
        await asyncio.wait_for(handle.result(), 30)


@pytest.mark.parametrize(
    ("target", "expected", "keys"), [(1e-6, 40, 100), *soak((3600.0, 900, 400))]
)
async def test_batches_adapt_to_the_time_they_take(
    client: Client, database: Database, target: float, expected: int, keys: int
) -> None:
    """They shrink to the floor, or grow to the ceiling."""
    await write(database.engine, counted_events(keys))
    async with (
        working(client, database, Registry([counting]), segment_seconds=60),
        recorded_batches(database) as batches,
    ):
        await run(
            client,
            database,
            "Rebuild",
            "counting",
            batch_size=200,
            target_batch_seconds=target,
            min_batch_size=40,
            max_batch_size=900,
        )
    await assert_oracle(database.engine, counting)
    # Whole keys of 20 events: a batch ends with the last of them.
    assert batches[0] in range(200, 221)
    assert max(batches) <= 921
    assert batches.count(expected) >= 2


@asynccontextmanager
async def recorded_batches(database: Database) -> AsyncIterator[list[int]]:
    """The events in each batch of a run, as a trigger on its partitions sees them."""
    batches: list[int] = []
    async with database.engine.begin() as connection:
        for statement in (
            "CREATE TABLE seen (number bigint GENERATED ALWAYS AS IDENTITY, events int)",
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen "
            "(events) VALUES (NEW.processed_events - OLD.processed_events); RETURN NEW; END $$",
            "CREATE TRIGGER see AFTER UPDATE ON refold.partitions FOR EACH ROW "
            "WHEN (NEW.batches > OLD.batches) EXECUTE FUNCTION see()",
        ):
            await connection.exec_driver_sql(statement)
    yield batches
    async with database.engine.connect() as connection:
        found = await connection.execute(text("SELECT events FROM seen ORDER BY number"))
        batches.extend(found.scalars())


async def test_a_new_limit_forgets_what_the_old_one_was_owed(
    client: Client, database: Database
) -> None:
    await write(database.engine, spread(200))
    async with working(client, database, registry_of(counters(batch_size=10))):
        request = {"projection": "counters", "events_per_second": 0.001}
        handle = await start(client, database, "Rebuild", request)
        await until(lambda: _more(database, 0), 30)
        await handle.execute_update("set_limits", {"events_per_second": 10_000})
        assert (await asyncio.wait_for(handle.result(), 30)).status == "completed"
