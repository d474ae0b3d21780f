"""System events that ask for something: by the manager, or by signal, and what comes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from temporalio.client import Client, WorkflowFailureError

from refold import (
    BackfillPolicy,
    ProjectionBackfillRequested,
    ProjectionRestartRequested,
    ProjectionRollbackRequested,
    ProjectionStopped,
    SystemEvent,
)
from refold.manager.projections import ProjectionManager
from refold.projection.registry import Registry
from refold.requests.runs import Approval
from refold.store.sessions import takeover
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import (
    ended_after,
    live,
    recorded,
    recorded_types,
    until_position,
    until_recorded,
    until_status,
)
from tests.support.runs import assert_oracle, checkpoint, queue, run, until, working, write
from tests.support.versions import doubled

DEFAULT_IDS = ("projection/counters", "backfill/counters", "rollback/counters", "rebuild/counters")


def manager_of(client: Client, database: Database) -> ProjectionManager:
    return ProjectionManager(client, database.url, task_queue=queue(database))


async def test_a_backfill_is_asked_for_when_nothing_runs(
    client: Client, database: Database
) -> None:
    manager = manager_of(client, database)
    await write(database.engine, some())
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, registry_of(counters())),
    ):
        asked = await manager.publish(
            ProjectionBackfillRequested(projection="counters", requested_by="ann")
        )
        completed = await until_recorded(database, "ProjectionBackfillCompleted")
        assert completed.correlation_id == asked
        assert await recorded_types(database) == [
            "ProjectionBackfillRequested",
            "ProjectionBackfillStarted",
            "ProjectionBackfillCompleted",
        ]
        assert {event.correlation_id for event in await recorded(database)} == {asked}
        await assert_oracle(database.engine, counters())
        # Asked for a backfill, the read model has not become a live one.
        assert await manager.get_status("counters") == "stopped"
        handle = client.get_workflow_handle("projection/counters")

        async def knows() -> bool:
            known = await handle.query("system_events")
            return bool(known[-1]["type"] == "ProjectionBackfillCompleted")

        await until(knows)
        await write(database.engine, some(start_at=300))
        await manager.start("counters")
        await until_position(database, 400)


async def test_a_backfill_is_asked_for_by_a_plain_signal(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        # As a person types it: neither projection nor correlation id.
        await handle.signal("ProjectionBackfillRequested", {"criteria": "full_rebuild"})
        completed = await until_recorded(database, "ProjectionBackfillCompleted")
        asked = (await recorded(database))[-1]
        requested = await until_recorded(database, "ProjectionBackfillRequested")
        assert requested.data == {"criteria": "full_rebuild"}
        assert completed.correlation_id == requested.correlation_id is not None
        assert asked.projection == "counters"


IMPOSSIBLE: list[tuple[str, Any, str]] = [
    ("ProjectionBackfillRequested", {"speed": 1}, "speed: not a field of the request"),
    ("ProjectionBackfillRequested", "all of it", "expected one JSON object"),
    ("ProjectionBackfillRequested", {"criteria": "all"}, "criteria: "),
    ("ProjectionBackfillRequested", {"projection": "other"}, "projection/other"),
    ("ProjectionRollbackRequested", {"to_generation": 0}, "to_generation: "),
    ("ProjectionRestartRequested", {"delay_seconds": -1}, "delay_seconds: "),
]


async def test_what_cannot_be_asked_for_is_answered_and_changes_nothing(
    client: Client, database: Database
) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database, stopped=True) as handle,
    ):
        for count, (signal, asked, expected) in enumerate(IMPOSSIBLE, 1):
            await handle.signal(signal, asked)
            failed = await until_recorded(database, "ProjectionBackfillFailed", count)
            assert expected in failed.data["error"]
            assert failed.data["status"] == "failed"
            assert await recorded_types(database) == ["ProjectionBackfillFailed"] * count
            assert await handle.query("status") == "stopped"


@pytest.mark.usefixtures("counters_built")
async def test_a_second_request_while_one_runs_is_answered_and_a_rollback_later(
    client: Client, database: Database
) -> None:
    manager = manager_of(client, database)
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, registry_of(counters())),
    ):
        wanted = ProjectionBackfillRequested(projection="counters", is_atomic=True)
        first = await manager.publish(wanted.model_copy(update={"approval": Approval.MANUAL}))
        await until_recorded(database, "ProjectionBackfillStarted", 2)
        await until_status(client.get_workflow_handle("backfill/counters"), "awaiting_approval")
        second = await manager.publish(wanted)
        failed = await until_recorded(database, "ProjectionBackfillFailed")
        assert failed.correlation_id == second
        assert "'backfill/counters' is running already" in failed.data["error"]
        await manager.approve("counters")
        completed = await until_recorded(database, "ProjectionBackfillCompleted", 2)
        assert completed.correlation_id == first
        # What it replaced is asked for again.
        asked = await manager.publish(ProjectionRollbackRequested(projection="counters"))
        completed = await until_recorded(database, "ProjectionBackfillCompleted", 3)
        assert completed.correlation_id == asked
        assert (completed.data["kind"], completed.data["status"]) == ("Rollback", "rolled_back")
        assert completed.data["generation"] == 1


@pytest.mark.usefixtures("counters_built")
async def test_a_restart_is_asked_for_with_a_back_off(client: Client, database: Database) -> None:
    manager = manager_of(client, database)
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, registry_of(counters())),
    ):
        request = ProjectionRestartRequested(
            projection="counters", retry_attempt=2, delay_seconds=1.5
        )
        clock = asyncio.get_running_loop().time
        began = clock()
        await manager.publish(request)
        await until_recorded(database, "ProjectionStarted")
        assert clock() - began > 1.4
        await until_status(client.get_workflow_handle("projection/counters"), "live")
        requested = await until_recorded(database, "ProjectionRestartRequested")
        assert requested.data == {"retry_attempt": 2, "delay_seconds": 1.5}


async def test_a_stop_counts_more_than_a_restart_that_was_asked_for_before(
    client: Client, database: Database
) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database, stopped=True) as handle,
    ):
        await handle.signal("ProjectionRestartRequested", {"delay_seconds": 0.5})
        await until_recorded(database, "ProjectionRestartRequested")
        await handle.signal("stop")
        # Its time passes, and nothing is started.
        await asyncio.sleep(1)
        assert await handle.query("status") == "stopped"
        assert await recorded_types(database) == ["ProjectionRestartRequested"]


async def test_what_asks_for_nothing_is_recorded(client: Client, database: Database) -> None:
    manager = manager_of(client, database)
    asked = await manager.publish(ProjectionStopped(projection="counters"))
    (event,) = await manager.get_system_events("counters")
    assert (event.type, event.correlation_id) == ("ProjectionStopped", asked)
    assert await manager.get_system_events("counters", after=1) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_new_version_is_rebuilt_by_itself_where_that_is_wanted(
    client: Client, database: Database
) -> None:
    old, new = counters(), doubled(auto_start=1)
    wanted = new.backfill.model_copy(update={"auto_start": True})
    new.policies.set_own(backfill=wanted)
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, Registry([old, new])),
        live(client, database) as handle,
    ):
        completed = await until_recorded(database, "ProjectionBackfillCompleted", 2)
        assert completed.data["generation"] == 2
        started = await until_recorded(database, "ProjectionBackfillStarted", 2)
        assert started.data["requested_by"] == "auto_start"
        await until_status(handle, "live")
        await write(database.engine, some(start_at=700))
        await until_position(database, 400)
    await assert_oracle(database.engine, new)
    assert await checkpoint(database.engine, new) == 400


ANSWERS = ("ProjectionBackfillFailed", "ProjectionRestartRequested")
UNSTORABLE: list[tuple[str, list[Any]]] = [
    ("ProjectionBackfillRequested", [{"requested_by": "a\0b"}]),
    ("ProjectionBackfillRequested", [{"a\0b": 1}]),
    ("ProjectionBackfillRequested", [{"correlation_id": "\0"}]),
    ("ProjectionRestartRequested", [{}, "k\0"]),
    ("ProjectionRestartRequested", [{}, "k" * 6000]),
]


async def test_what_postgresql_cannot_store_is_recorded_all_the_same(
    client: Client, database: Database
) -> None:
    async with (
        ended_after(client, *DEFAULT_IDS),
        working(client, database, registry_of(counters())),
        live(client, database, stopped=True) as handle,
    ):
        for count, (signal, inputs) in enumerate(UNSTORABLE, 1):
            await handle.signal(signal, args=inputs)

            async def there(count: int = count) -> bool:
                kept = [event.type for event in await recorded(database)]
                return sum(kept.count(kind) for kind in ANSWERS) == count

            await until(there)
            assert await handle.query("status") in ("stopped", "starting", "needs_rebuild")


@pytest.mark.usefixtures("counters_built")
async def test_a_stop_and_a_start_in_one_breath_leave_it_running(
    client: Client, database: Database
) -> None:
    async with (
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        await handle.signal("stop")
        await handle.signal("start")
        await write(database.engine, some(start_at=300))
        await until_position(database, 400)
        await until_recorded(database, "ProjectionStarted", 1)
        await handle.signal("stop")
        await until_recorded(database, "ProjectionStopped")
        # A cancellation that comes while it stops is not taken for the stop.
        await handle.signal("start")
        await until_recorded(database, "ProjectionStarted", 2)
        await handle.signal("stop")
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 30)


async def test_a_worker_of_older_code_brings_no_older_version_back(
    client: Client, database: Database
) -> None:
    eager = BackfillPolicy(auto_start=True)
    old, new = counters(), doubled()
    old.policies.set_own(backfill=eager)
    new.policies.set_own(backfill=eager)
    await write(database.engine, some())
    async with ended_after(client, *DEFAULT_IDS):
        async with working(client, database, registry_of(new)):
            await run(client, database, "Backfill", "counters")
        async with working(client, database, registry_of(old)), live(client, database) as handle:
            await until_status(handle, "needs_rebuild")
            await asyncio.sleep(1)
        assert await recorded_types(database) == [
            "ProjectionBackfillStarted",
            "ProjectionBackfillCompleted",
            "ProjectionStarted",
            "ProjectionCheckpointRestored",
        ]


@pytest.mark.usefixtures("counters_built")
async def test_large_events_of_an_application_do_not_weigh_the_workflow_down(
    client: Client, database: Database
) -> None:
    class Large(SystemEvent):
        text: str

    manager = manager_of(client, database)
    await manager.publish(Large(projection="counters", text="x" * 3_000_000))
    async with (
        working(client, database, registry_of(counters())),
        live(client, database) as handle,
    ):
        await until_status(handle, "live")
        known = await handle.query("system_events")
    (told,) = [event for event in known if event["type"] == "Large"]
    assert "3,000,0" in told["data"]["left_out"]
    (large,) = [e for e in await manager.get_system_events("counters") if e.type == "Large"]
    assert len(large.data["text"]) == 3_000_000


@pytest.mark.usefixtures("counters_built")
async def test_whoever_stopped_in_the_midst_of_recording_is_not_waited_for(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_GRACE_SECONDS", 0.5)
    async with working(client, database, registry_of(counters())):
        stopped = await asyncpg.connect(database.url)
        transaction = stopped.transaction()
        await transaction.start()
        await stopped.execute("UPDATE refold.system_event_counters SET last = last + 1")
        async with live(client, database) as handle:
            await until_status(handle, "live")
        assert stopped.is_closed()
