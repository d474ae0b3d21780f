"""What a run holds back for: an expression, and the load of the database."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from refold.engine.folding import pacing
from refold.errors import InvalidRequest
from refold.manager.projections import ProjectionManager, RunFailed
from refold.requests.limits import Throttle
from refold.requests.runs import BackfillRequest
from refold.store.pressure import Pressure
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import queue, start, until, working, write
from tests.support.steering import processed, progress_of, spread


async def test_it_holds_back_while_an_expression_is_true(
    client: Client, database: Database
) -> None:
    await write(database.engine, spread(200))
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
        assert (await progress_of(handle)).waiting_for == []
        await _a_wrong_expression_fails_at_once(client, database)


async def _a_wrong_expression_fails_at_once(client: Client, database: Database) -> None:
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    for wrong in ("no_such_column > 5", "1); DROP TABLE refold.leases; --", "'maybe'"):
        with pytest.raises(RunFailed, match="hold_while: expected an SQL expression"):
            await manager.rebuild(
                "counters",
                BackfillRequest(projection="counters", throttle=Throttle(hold_while=wrong)),
            )
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM refold.leases")) == 0


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


async def test_a_long_hold_leaves_room_for_a_new_history(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One segment after another holds back: between two, the workflow can continue as new."""
    monkeypatch.setattr(pacing, "_HOLD_SECONDS", 0.3)
    await write(database.engine, spread(200))
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
