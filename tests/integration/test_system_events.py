"""What happens to projections and runs is recorded, in order, with who asked for it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client, WorkflowFailureError

from refold.store import system_events
from refold.system_events.events import (
    ProjectionCheckpointSaved,
    ProjectionRestartRequested,
    ProjectionStopped,
    SystemEvent,
)
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import (
    live,
    recorded,
    recorded_types,
    until_position,
    until_recorded,
    until_status,
)
from tests.support.runs import run, start, until, working, write


async def test_a_run_records_its_life_and_why_it_ended(client: Client, database: Database) -> None:
    await write(database.engine, some())
    async with working(client, database, registry_of(counters(batch_size=20))):
        await _a_run_records_its_life_with_its_correlation_id(client, database)
        await _a_run_that_is_cancelled_records_the_reason(client, database)
        await _a_run_that_fails_records_why(client, database)


async def _a_run_records_its_life_with_its_correlation_id(
    client: Client, database: Database
) -> None:
    result = await run(
        client, database, "Rebuild", "counters", correlation_id="c-1", requested_by="ann"
    )
    events = await recorded(database)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    started, *_, completed = events
    assert (started.type, completed.type) == (
        "ProjectionBackfillStarted",
        "ProjectionBackfillCompleted",
    )
    assert {event.correlation_id for event in events} == {"c-1"}
    assert started.data == {
        "run_id": result.run_id,
        "kind": "Rebuild",
        "generation": 1,
        "total_events": 200,
        "requested_by": "ann",
        "options": {
            "criteria": "full_rebuild",
            "is_atomic": True,
            "batch_size": 20,
            "max_concurrency": 4,
            "approval": "auto",
            "rollback_on_failure": False,
            "create_backup": False,
            "requested_by": "ann",
        },
    }
    assert completed.data == {
        "run_id": result.run_id,
        "kind": "Rebuild",
        "status": "completed",
        "generation": 1,
        "position": 200,
        "events_processed": 200,
        "from_date": None,
        "to_date": None,
        "result": result.model_dump(mode="json"),
    }


async def _a_run_that_fails_records_why(client: Client, database: Database) -> None:
    await write(database.engine, [("bad", "Broken", {"key": "k020"})])
    with pytest.raises(WorkflowFailureError):
        await run(client, database, "Rebuild", "counters", correlation_id="c-2")
    failed = (await recorded(database))[-1]
    assert (failed.type, failed.correlation_id) == ("ProjectionBackfillFailed", "c-2")
    assert (failed.data["status"], failed.data["kind"]) == ("failed", "Rebuild")
    assert "event 201 (Broken of stream 'bad')" in failed.data["error"]
    assert (failed.data["error_type"], failed.data["code"]) == ("PoisonEvent", "RF301")
    assert failed.data["is_transient"] is False


async def _a_run_that_is_cancelled_records_the_reason(client: Client, database: Database) -> None:
    request = {"projection": "counters", "approval": "manual"}
    handle = await start(client, database, "Rebuild", request)
    await until_status(handle, "awaiting_approval")
    await handle.signal("cancel", "not today")
    await handle.result()
    failed = (await recorded(database))[-1]
    assert (failed.type, failed.data["status"]) == ("ProjectionBackfillFailed", "cancelled")
    assert failed.data["error"] == "not today"
    assert (failed.data["error_type"], failed.data["code"]) == ("Cancelled", "RF510")


@pytest.mark.usefixtures("counters_built")
async def test_snapshots_and_checkpoints_that_are_restored_are_recorded(
    client: Client, database: Database
) -> None:
    async with working(client, database, registry_of(counters())):
        await run(client, database, "Snapshot", "counters", correlation_id="c-4")
        await write(database.engine, some(start_at=300))
        await run(client, database, "Rollback", "counters", to_generation=2, correlation_id="c-5")
        await run(client, database, "Rebuild", "counters", as_of=100, correlation_id="c-6")
    told = [
        (event.type, event.correlation_id, event.data)
        for event in await recorded(database)
        if "Snapshot" in event.type or "Restored" in event.type
    ]
    assert told == [
        ("ProjectionSnapshotCreated", "c-4", {"generation": 2, "position": 200}),
        ("ProjectionSnapshotRestored", "c-5", {"generation": 2, "position": 400}),
        ("ProjectionCheckpointRestored", "c-6", {"position": 100}),
    ]


async def test_who_asks_for_what_is_refused_hears_of_it(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        for asked, heard in ((None, 0), ("c-3", 1)):
            with pytest.raises(WorkflowFailureError):
                # There is no such thing to go back to.
                await run(client, database, "Rollback", "other", correlation_id=asked)
            refused = await recorded(database, "other")
            assert [event.type for event in refused] == ["ProjectionBackfillFailed"] * heard
    assert refused[0].correlation_id == "c-3"


@pytest.mark.usefixtures("counters_built")
async def test_a_live_projection_records_its_life(client: Client, database: Database) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        await write(database.engine, some(start_at=300))
        await until_position(database, 400)
        saved = await until_recorded(database, "ProjectionCheckpointSaved")
        assert saved.data == {"position": 400}
        await handle.signal("stop")
        await until_recorded(database, "ProjectionStopped")
        await handle.signal("start")
        await until_recorded(database, "ProjectionStarted", 2)
        await write(database.engine, [("bad", "Broken", {"key": "k001"})])
        failed = await until_recorded(database, "ProjectionFailed")

        async def is_known() -> bool:
            """The query knows them all, in order, once the workflow has heard of the failure."""
            known = await handle.query("system_events")
            return [event["number"] for event in known] == list(range(1, failed.number + 1))

        await until(is_known)
    assert await recorded_types(database) == [
        "ProjectionBackfillStarted",
        "ProjectionBackfillCompleted",
        "ProjectionStarted",
        "ProjectionCheckpointRestored",
        "ProjectionStopped",
        "ProjectionStarted",
        "ProjectionCheckpointRestored",
        "ProjectionFailed",
    ]
    restored = [e for e in await recorded(database) if e.type == "ProjectionCheckpointRestored"]
    assert [event.data["position"] for event in restored] == [200, 400]
    assert (failed.data["error_type"], failed.data["code"]) == ("PoisonEvent", "RF301")
    assert failed.data["is_transient"] is False
    assert failed.data["retry_attempt"] == 0
    place = (failed.data["position"], failed.data["event_type"], failed.data["stream_id"])
    assert place == (401, "Broken", "bad")


async def test_what_is_recorded_at_the_same_time_is_numbered_without_gaps(
    database: Database,
) -> None:
    async def record(writer: int) -> None:
        for n in range(20):
            async with database.engine.connect() as connection, connection.begin() as transaction:
                event = ProjectionCheckpointSaved(projection="counters", position=writer * 100 + n)
                await system_events.record(connection, event)
                if n % 5 == 4:
                    await transaction.rollback()

    await asyncio.gather(*[record(writer) for writer in range(3)])
    events = await recorded(database)
    assert [event.number for event in events] == list(range(1, 49))
    times = [event.recorded_at for event in events]
    assert times == sorted(times)
    for writer in range(3):
        own = [e.data["position"] for e in events if e.data["position"] // 100 == writer]
        assert own == sorted(own)


async def test_a_key_is_recorded_once(database: Database) -> None:
    event = ProjectionStopped(projection="counters")

    async def record(connection: AsyncConnection, which: SystemEvent) -> bool:
        return await system_events.record(connection, which, key="once")

    async def apart() -> bool:
        async with database.engine.begin() as connection:
            return await record(connection, event)

    assert sorted(await asyncio.gather(*[apart() for _ in range(5)])) == [False] * 4 + [True]
    async with database.engine.begin() as connection:
        assert await record(connection, ProjectionStopped(projection="others"))
    assert [event.number for event in await recorded(database)] == [1]


async def test_old_events_are_pruned(database: Database) -> None:
    from datetime import timedelta

    async with database.engine.begin() as connection:
        for position in range(3):
            event = ProjectionCheckpointSaved(projection="counters", position=position)
            await system_events.record(connection, event)
        await connection.execute(
            text(
                "UPDATE refold.system_events SET recorded_at = now() - interval '31 days' "
                "WHERE number < 3"
            )
        )
        assert await system_events.prune(connection, timedelta(days=30)) == 2
    assert [event.number for event in await recorded(database)] == [3]


async def test_who_records_the_same_at_the_same_time_leaves_no_gap(database: Database) -> None:
    stopped = ProjectionStopped(projection="counters")
    restart = ProjectionRestartRequested(projection="counters")
    async with database.engine.connect() as one, database.engine.connect() as other:
        assert await system_events.record(one, stopped, key="the same")
        waiting = asyncio.create_task(system_events.record(other, stopped, key="the same"))
        await until(lambda: is_waiting(database))
        await one.commit()
        assert not await waiting
        assert not await system_events.record(other, stopped, key="the same")
        assert await system_events.record(other, restart, key="another")
        await other.commit()
        found = await system_events.latest(one, "counters", limit=10)
    assert [(event.number, event.type) for event in found] == [
        (1, "ProjectionStopped"),
        (2, "ProjectionRestartRequested"),
    ]


async def is_waiting(database: Database) -> bool:
    """Whether a session waits for another one's lock."""
    async with database.engine.connect() as connection:
        statement = text(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(await connection.scalar(statement))
