"""A live projection keeps up with the log, gives way to runs, and can be stopped and started."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Worker

from refold import Event, Projection, Row
from refold.errors import NotLive
from refold.manager.health import as_of_now, judged, read_standing
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveHealth, LiveReport, LiveSegment, LiveStatus
from refold.projection.registry import Registry
from refold.source.checking.check import check_events
from refold.workflows.all import WORKFLOWS
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, until_position, until_status
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
from tests.support.versions import doubled


async def test_it_follows_and_is_stopped_and_started(client: Client, database: Database) -> None:
    projection = counters()
    await write(database.engine, some())
    async with live(client, database) as handle:
        async with working(client, database, registry_of(projection)):
            await until_status(handle, "needs_rebuild")
            assert "never been built" in (await handle.query("health"))["report"]["note"]
            await run(client, database, "Rebuild", "counters")
            await handle.signal("restart")
            await until_status(handle, "live")
            await write(database.engine, some(start_at=300))
            await until_position(database, 400)
            await handle.signal("stop")
            await until_status(handle, "stopped")
            await write(database.engine, some(start_at=600))
            await asyncio.sleep(0.7)  # it would have looked dozens of times
            assert await checkpoint(database.engine, projection) == 400
        # Everything is gone for a while; it goes on at its checkpoint.
        await handle.signal("start")
        async with working(client, database, registry_of(projection)):
            await until_position(database, 600)
            await until_status(handle, "live")
            assert await handle.query("checkpoint") == 600
    await assert_oracle(database.engine, projection)


@pytest.mark.soak
async def test_swaps_and_repairs_and_following_at_the_same_time(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=20, partitions=2)
    await write(database.engine, some())
    appended = 200
    done = asyncio.Event()

    async def appending() -> None:
        nonlocal appended
        while not done.is_set():
            await write(database.engine, some(10, 1, start_at=appended))
            appended += 10
            await asyncio.sleep(0.01)

    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database):
            writer = asyncio.create_task(appending())
            for kind in ("Rebuild", "Backfill", "Rollback", "Backfill"):
                result = await run(client, database, kind, "counters")
                assert result.status in ("completed", "rolled_back")
            done.set()
            await writer
            await until_position(database, appended)
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_a_poison_event_is_named_and_following_goes_on_once_it_is_mended(
    client: Client, database: Database
) -> None:
    broken, mended = counters(), counters()
    mended.handlers["Broken"] = lambda row, event: row
    async with live(client, database) as handle:
        async with working(client, database, registry_of(broken)):
            await until_status(handle, "live")
            await write(database.engine, [("bad", "Broken", {"key": "k001"}), *some(start_at=50)])
            await until_status(handle, "failed")
            error = (await handle.query("health"))["error"]
            assert error["type"] == "PoisonEvent"
            for part in ("event 201", "Broken", "'bad'", "this event cannot be taken"):
                assert part in error["message"]
            assert error["attempts"] == 1
            assert error["next_attempt_at"] is not None
            assert await checkpoint(database.engine, broken) <= 200
        await handle.signal("restart")
        async with working(client, database, registry_of(mended)):
            await until_position(database, 401)
            await until_status(handle, "live")
            assert (await handle.query("health"))["error"] is None
    await assert_oracle(database.engine, mended)


async def told(
    database: Database, handle: WorkflowHandle[Any, Any]
) -> tuple[LiveStatus, str | None]:
    """What a person is told of the live projection."""
    async with database.engine.connect() as connection:
        standing = await read_standing(connection, "counters", settled=0)
    health = await handle.query("health", result_type=LiveHealth)
    return as_of_now(health, standing)


@pytest.mark.usefixtures("counters_built")
async def test_an_older_version_is_followed_and_says_that_it_wants_a_rebuild(
    client: Client, database: Database
) -> None:
    old, new = counters(), doubled()
    async with working(client, database, Registry([old, new])), live(client, database) as handle:
        await until_status(handle, "needs_rebuild")
        await write(database.engine, some(start_at=40))
        # As soon as ever: it does not pause because it wants a rebuild.
        await asyncio.wait_for(until_position(database, 400), 5)
        await assert_oracle(database.engine, old)
        assert (await told(database, handle))[0] == "needs_rebuild"
        await run(client, database, "Rebuild", "counters")
        # Its last report is of before the swap for up to a minute: nobody is to rebuild again.
        assert (await told(database, handle))[0] in ("catching_up", "live")
        await handle.signal("restart")
        await until_status(handle, "live")
        await write(database.engine, some(start_at=90))
        await until_position(database, 600)
        await assert_oracle(database.engine, new)
        await run(client, database, "Rollback", "counters")
        await write(database.engine, some(start_at=140))
        await until_position(database, 800)
        await handle.signal("restart")
        await until_status(handle, "live")
        assert await told(database, handle) == ("live", None)  # it was meant
    await assert_oracle(database.engine, old)


BAD_INPUT: list[tuple[list[Any], str]] = [
    ([], "expected one JSON object"),
    ([{"projection": "nope"}], "expected one of (counters), got 'nope'"),
    ([{"projection": "counters", "speed": 1}], "speed: not a field of the request"),
]


async def test_bad_input_fails_at_once(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        for inputs, expected in BAD_INPUT:
            handle = await start(client, database, "Projection", *inputs)
            with pytest.raises(WorkflowFailureError) as failed:
                await asyncio.wait_for(handle.result(), 60)
            assert isinstance(failed.value.cause, ApplicationError)
            assert expected in failed.value.cause.message


@pytest.mark.usefixtures("counters_built")
async def test_appends_are_seen_within_moments(client: Client, database: Database) -> None:
    projection = Projection("counters", table=counters().table, key="data.key")

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        return {"count": (row or {"count": 0})["count"] + 1, "sum": 0, "last": event.data["n"]}

    clock = asyncio.get_running_loop().time
    async with (
        working(client, database, registry_of(projection)),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        times = []
        for n in range(11):
            await write(database.engine, [("s0", "Added", {"key": "k000", "n": 1000 + n})])
            appended = clock()
            while await _last(database) != 1000 + n:  # noqa: ASYNC110 - it is in a database
                await asyncio.sleep(0.002)
            times.append(clock() - appended)
    # How fast is the bench's subject; without a notification it would be a second.
    print(f"append to visible: median {1000 * sorted(times)[5]:.0f} ms")
    assert sorted(times)[5] < 0.5


async def _last(database: Database) -> int:
    async with database.engine.connect() as connection:
        return int(
            await connection.scalar(text("SELECT last FROM counters WHERE key = 'k000'")) or 0
        )


@pytest.mark.usefixtures("counters_built")
async def test_the_manager_starts_stops_and_knows_how_it_is(
    client: Client, database: Database
) -> None:
    projection = counters()
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with working(client, database, registry_of(projection)):
        assert await manager.get_status("counters") == "stopped"
        with pytest.raises(NotLive, match="refold start counters"):
            await manager.stop("counters")
        await manager.start("counters")
        try:
            await until(lambda: _is(manager, "live"))
            await write(database.engine, [*some(start_at=9), ("x", "Unread", {})])
            await until_position(database, 401)
            health = await manager.get_health("counters", projection.event_types)
            assert (health.is_healthy, health.reason, health.error) == (True, None, None)
            assert (health.standing.lag_events, health.standing.lag_seconds) == (0, 0.0)
            assert await manager.get_current_checkpoint("counters") == 401
            await manager.stop("counters")
            await until(lambda: _is(manager, "stopped"))
            await write(database.engine, some(start_at=90))
            health = await manager.get_health("counters", projection.event_types)
            assert (health.is_healthy, health.reason) == (
                False,
                "it is stopped: `refold start counters`",
            )
            assert health.standing.lag_events == 200
            assert health.standing.lag_seconds > 0
            await manager.restart("counters")
            await until_position(database, 601)
            (standing,) = await manager.get_all_projections()
            assert (standing.projection, standing.position, standing.generation) == (
                "counters",
                601,
                1,
            )
        finally:
            await client.get_workflow_handle("projection/counters").terminate()


async def _is(manager: ProjectionManager, status: str) -> bool:
    return await manager.get_status("counters") == status


async def test_a_frozen_head_is_unhealthy_though_nothing_lags(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.manager.health.FROZEN_SECONDS", 0.5)
    await write(database.engine, some())
    async with database.engine.begin() as idle, database.engine.connect() as looking:
        await idle.execute(
            text(
                "INSERT INTO refold.events (stream_id, version, type, data) "
                "VALUES ('idle', 1, 'Added', '{}')"
            )
        )
        await write(database.engine, some(start_at=9))
        await asyncio.sleep(0.6)
        standing = await read_standing(looking, "counters")
        assert (standing.head, standing.lag_events) == (0, 0)
        health = judged(standing, LiveStatus.LIVE, None, None)
        assert not health.is_healthy
        assert health.reason is not None
        assert health.reason.startswith("the head is held by pid ")


@pytest.mark.usefixtures("counters_built")
async def test_the_lag_is_told_though_somebody_writes_at_each_look(
    client: Client, database: Database
) -> None:
    async with ProjectionManager(client, database.url, task_queue=queue(database)) as manager:

        async def one() -> int:
            return (await manager.get_health("counters")).standing.head

        async def every() -> int:
            return (await manager.get_all_projections())[0].head

        async def check() -> int | None:
            looking = database.engine.execution_options(isolation_level="AUTOCOMMIT")
            async with looking.connect() as connection:
                return (await check_events(connection)).head

        for look in (one, every, check):
            async with database.engine.begin() as brief:
                await brief.execute(
                    text(
                        "INSERT INTO refold.events (stream_id, version, type, data) "
                        "VALUES (gen_random_uuid()::text, 1, 'Added', '{}')"
                    )
                )
                await write(database.engine, [("other", "Added", {"key": "a"})])
                looked = asyncio.create_task(look())
                await asyncio.sleep(0.1)
            assert await looked == await last(database)


async def test_it_is_cancelled_though_the_segment_in_hand_ends_well(
    client: Client, database: Database
) -> None:
    ends = asyncio.Event()

    @activity.defn(name="follow_live")
    async def deaf(segment: LiveSegment) -> LiveReport:
        """Ends well, though it is asked to stop."""
        with suppress(asyncio.CancelledError):
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.1)
        ends.set()
        return LiveReport(status=LiveStatus.LIVE, at=datetime.now(UTC))

    async with Worker(
        client,
        task_queue=queue(database),
        workflows=WORKFLOWS,
        activities=[deaf],
        max_heartbeat_throttle_interval=timedelta(seconds=0.2),
    ):
        handle = await start(client, database, "Projection", {"projection": "counters"})
        await asyncio.sleep(0.5)
        await handle.cancel()
        await asyncio.wait_for(ends.wait(), 30)
        with pytest.raises(WorkflowFailureError) as ended:
            await asyncio.wait_for(handle.result(), 30)
    assert isinstance(ended.value.cause, CancelledError)
