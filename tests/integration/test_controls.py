"""What a run can be told while it goes on: pause, resume, limits; and what it holds back for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from refold.engine.folding import pacing
from refold.errors import InvalidRequest
from refold.manager.projections import NoRun, ProjectionManager, RunFailed
from refold.messages.run.life import Progress
from refold.projection.registry import Registry
from refold.requests.limits import Limits, Throttle
from refold.store.pressure import Pressure
from tests.support.counters import counters, registry_of
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, queue, run, start, until, working, write

Handle = WorkflowHandle[Any, Any]


async def progress_of(handle: Handle) -> Progress:
    progress: Progress = await handle.query("progress", result_type=Progress)
    return progress


async def until_status(handle: Handle, status: str) -> None:
    async def is_so() -> bool:
        return bool(await handle.query("status") == status)

    await until(is_so, 30)


async def processed(database: Database) -> int:
    """Events that the run under way has folded and committed."""
    async with database.engine.connect() as connection:
        found = text("SELECT coalesce(sum(processed_events), 0)::int FROM refold.partitions")
        return int(await connection.scalar(found) or 0)


async def moved_within(database: Database, seconds: float) -> int:
    before = await processed(database)
    await asyncio.sleep(seconds)  # that nothing happens meanwhile, or something does
    return await processed(database) - before


async def test_what_it_was_told_outlives_workers(
    client: Client, database: Database, tmp_path: Path
) -> None:
    """Paused, limits changed, killed, resumed, paused, cancelled: each of these stands."""
    await write(database.engine, counted_events(600))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        request = {"projection": "counting", "events_per_second": 400, "batch_size": 50}
        handle = await start(client, database, "Rebuild", request)
        await until(lambda: _some(database), 30)
        await manager.pause("counting")
        await until_status(handle, "paused")
        assert await moved_within(database, 0.7) == 0
        changed = await manager.set_limits("counting", Limits(max_concurrency=1, batch_size=20))
        assert changed == Limits(batch_size=20, max_concurrency=1, events_per_second=400)
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
    projection = counters(batch_size=5, partitions=4, max_concurrency=4, events_per_second=200)
    await write(database.engine, _spread(4000))
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


def _spread(count: int) -> list[tuple[str, str, dict[str, Any]]]:
    return [("s", "Added", {"key": f"k{n % 100:02}", "n": n}) for n in range(count)]


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


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1, got 0"),
        ({"batches": 5}, "batches: not a field of the request; accepted: batch_size"),
        ({}, "expected one or more of batch_size, max_concurrency, events_per_second"),
        ("fast", "limits: expected one JSON object such as"),
        ({"events_per_second": -1}, "greater than or equal to 0"),
    ],
)
async def test_wrong_limits_are_refused(
    client: Client, database: Database, limits: Any, expected: str
) -> None:
    await write(database.engine, _spread(50))
    projection = counters(events_per_second=10)
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("set_limits", limits)
        assert isinstance(refused.value.cause, ApplicationError)
        assert expected in refused.value.cause.message
        await handle.signal("cancel")
        await asyncio.wait_for(handle.result(), 30)


async def test_it_holds_back_while_an_expression_is_true(
    client: Client, database: Database
) -> None:
    await write(database.engine, _spread(200))
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE busy (since timestamptz)"))
        await connection.execute(text("INSERT INTO busy VALUES (now())"))
    throttle = {"hold_while": "EXISTS (SELECT 1 FROM busy)", "check_seconds": 0.2}
    async with working(client, database, registry_of(counters(batch_size=10))):
        request = {"projection": "counters", "throttle": throttle}
        handle = await start(client, database, "Rebuild", request)

        async def is_said() -> bool:
            shown = await progress_of(handle)
            return shown.waiting_for == ["hold_while is true: EXISTS (SELECT 1 FROM busy)"]

        await until(is_said, 30)
        assert await processed(database) == 0
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM busy"))
        result = await asyncio.wait_for(handle.result(), 60)
    assert result.status == "completed"
    assert (await progress_of_ended(client, database, handle)).waiting_for == []


async def progress_of_ended(client: Client, database: Database, handle: Handle) -> Progress:
    async with working(client, database, registry_of(counters())):
        return await progress_of(handle)


async def test_a_wrong_expression_fails_at_once(client: Client, database: Database) -> None:
    await write(database.engine, _spread(20))
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with working(client, database, registry_of(counters())):
        for wrong in ("no_such_column > 5", "1); DROP TABLE refold.leases; --", "'maybe'"):
            with pytest.raises(RunFailed, match="hold_while: expected an SQL expression"):
                await manager.rebuild("counters", _asking(throttle=Throttle(hold_while=wrong)))
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM refold.leases")) == 0


def _asking(**fields: Any) -> Any:
    from refold.requests.runs import BackfillRequest

    return BackfillRequest(projection="counters", **fields)


async def test_load_of_the_database_is_told(database: Database) -> None:
    engine = database.engine
    quiet = Throttle(max_active_sessions=0, max_replication_lag_seconds=1)

    async def nobody() -> bool:  # a database of the test before may still be dropped
        return await Pressure(engine, quiet).reasons() == []

    await until(nobody)
    async with engine.connect() as other:
        await other.execute(text("SET application_name = 'shop'"))
        asleep = asyncio.create_task(other.execute(text("SELECT pg_sleep(5)")))
        await asyncio.sleep(0.3)
        (why,) = await Pressure(engine, quiet).reasons()
        assert why == "1 sessions are active (at most 0)"
        asleep.cancel()
        with suppress(asyncio.CancelledError):
            await asleep
        await other.invalidate()
    pressure = Pressure(engine, Throttle(max_wal_bytes_per_second=1000))
    await pressure.reasons()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE t AS SELECT generate_series(1, 200000)"))
    await asyncio.sleep(0.6)
    (why,) = await pressure.reasons()
    assert "of WAL a second" in why


@pytest.mark.parametrize(("target", "expected"), [(1e-6, 40), (3600.0, 900)])
async def test_batches_adapt_to_the_time_they_take(
    client: Client, database: Database, target: float, expected: int
) -> None:
    """They shrink to the floor, or grow to the ceiling."""
    await write(database.engine, counted_events(400))
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


async def test_a_long_hold_leaves_room_for_a_new_history(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One segment after another holds back: between two, the workflow can continue as new."""
    monkeypatch.setattr(pacing, "_HOLD_SECONDS", 0.3)
    await write(database.engine, _spread(200))
    throttle = {"hold_while": "true", "check_seconds": 0.1}
    async with working(client, database, registry_of(counters(partitions=1))):
        request = {"projection": "counters", "throttle": throttle}
        handle = await start(client, database, "Rebuild", request)

        async def segments() -> int:
            events = (await handle.fetch_history()).events
            begun = [e.activity_task_scheduled_event_attributes for e in events]
            return sum(one.activity_type.name == "refold_segment" for one in begun)

        async def several() -> bool:
            return await segments() > 3

        async def is_told() -> bool:  # progress is a moment behind
            return (await progress_of(handle)).waiting_for == ["hold_while is true: true"]

        await until(several, 30)
        await until(is_told, 30)
        assert await processed(database) == 0
        await handle.signal("cancel")
        assert (await asyncio.wait_for(handle.result(), 30)).status == "cancelled"


async def test_what_passes_does_not_fail_the_expression(database: Database) -> None:
    """The server is stopped while it evaluates: the next look is for another connection."""
    ended = Throttle(hold_while="pg_terminate_backend(pg_backend_pid())")
    with pytest.raises((DBAPIError, asyncpg.PostgresError)):
        await Pressure(database.engine, ended).reasons()
    with pytest.raises(InvalidRequest, match=r"there is no value for its \$1"):
        await Pressure(database.engine, Throttle(hold_while="$1 = 1")).reasons()


async def test_a_new_limit_forgets_what_the_old_one_was_owed(
    client: Client, database: Database
) -> None:
    await write(database.engine, _spread(200))
    async with working(client, database, registry_of(counters(batch_size=10))):
        request = {"projection": "counters", "events_per_second": 0.001}
        handle = await start(client, database, "Rebuild", request)
        await until(lambda: _more(database, 0), 30)
        await handle.execute_update("set_limits", {"events_per_second": 10_000})
        assert (await asyncio.wait_for(handle.result(), 30)).status == "completed"
