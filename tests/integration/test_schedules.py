"""Backfills by the calendar: made, listed, run and removed on a real Temporal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError

from refold.errors import InvalidRequest, NoSchedule, ScheduleExists, UnknownProjection
from refold.manager.projections import ProjectionManager, RunFailed
from refold.messages.schedules import ScheduleInfo
from refold.requests.criteria import Criteria
from refold.requests.runs import Approval, BackfillRequest
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, checkpoint, queue, until, working, write

NIGHTLY = "0 3 * * *"
_HOUR = timedelta(hours=1)
MANUAL = BackfillRequest(projection="counters", is_atomic=True, approval=Approval.MANUAL)


@asynccontextmanager
async def managed(client: Client, database: Database) -> AsyncIterator[ProjectionManager]:
    """A manager, with a worker and 200 events; schedules on its task queue end with it."""
    await write(database.engine, some())
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        ended_after(client, "plan/counters"),
        working(client, database, registry_of(counters(partitions=2))),
    ):
        try:
            yield manager
        finally:
            for one in await manager.get_schedules():
                with suppress(NoSchedule):
                    await manager.remove_schedule(one.id)


async def listed(manager: ProjectionManager, *ids: str) -> list[ScheduleInfo]:
    """The schedules, as soon as they are these."""

    found: list[ScheduleInfo] = []

    async def there() -> bool:
        nonlocal found
        found = await manager.get_schedules()
        return [one.id for one in found] == list(ids)

    await until(there, 20)
    return found


async def test_a_schedule_is_made_and_runs_and_is_removed(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        await _what_could_not_be_carried_out_is_refused_at_once(manager)
        request = BackfillRequest(
            projection="counters", criteria=Criteria.LAST_N_DAYS, last_n=36_500, batch_size=50
        )
        made = await manager.add_schedule("counters", NIGHTLY, request, time_zone="Europe/Berlin")
        assert (made.id, made.projection) == ("schedule/counters", "counters")
        assert (made.when, made.time_zone) == ([NIGHTLY], "Europe/Berlin")
        assert made.request == {
            "projection": "counters",
            "criteria": "last_n_days",
            "last_n": 36_500,
            "batch_size": 50,
            "requested_by": "schedule/counters",
        }
        assert made.next_run is not None
        assert (made.last_run, made.paused, made.skipped) == (None, False, 0)
        with pytest.raises(ScheduleExists, match="refold schedule remove schedule/counters"):
            await manager.add_schedule("counters", "@daily")
        await manager.add_schedule("counters", "@every 90m", schedule_id="counters-often")
        often, nightly = await listed(manager, "counters-often", "schedule/counters")
        assert nightly == made
        assert "1:30:00" in often.when[0]
        assert await manager.get_schedules("others") == []

        await client.get_schedule_handle(made.id).trigger()

        async def ran() -> bool:
            return await _last(manager, made.id) is not None

        await until(ran)
        workflow_id = await _last(manager, made.id)
        assert workflow_id is not None
        assert workflow_id.startswith("backfill/counters-2")
        result = await client.get_workflow_handle(workflow_id).result()
        assert (result["status"], result["events_processed"]) == ("completed", 200)
        assert await checkpoint(database.engine, counters()) == 200
        await assert_oracle(database.engine, counters())

        await manager.remove_schedule("counters-often")
        await listed(manager, "schedule/counters")
        with pytest.raises(NoSchedule, match=r"there are \(schedule/counters\), got 'counters-o"):
            await manager.remove_schedule("counters-often")


async def _last(manager: ProjectionManager, schedule_id: str) -> str | None:
    found = [one for one in await manager.get_schedules() if one.id == schedule_id]
    return found[0].last_workflow_id if found else None


async def test_a_run_is_left_out_while_the_one_before_is_under_way(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        made = await manager.add_schedule("counters", NIGHTLY, MANUAL)
        handle = client.get_schedule_handle(made.id)
        await handle.trigger()

        async def runs() -> bool:
            return len((await handle.describe()).info.running_actions) == 1

        await until(runs)
        await handle.trigger()

        async def left_out() -> bool:
            return (await handle.describe()).info.num_actions_skipped_overlap == 1

        await until(left_out)
        (info,) = await listed(manager, made.id)
        assert info.skipped == 1
        assert info.last_workflow_id is not None
        await client.get_workflow_handle(info.last_workflow_id).terminate()


async def _what_could_not_be_carried_out_is_refused_at_once(manager: ProjectionManager) -> None:
    with pytest.raises(UnknownProjection, match="expected one of"):
        await manager.add_schedule("nope", NIGHTLY)
    in_place = BackfillRequest(projection="counters", approval=Approval.MANUAL)
    with pytest.raises(RunFailed, match="approval: expected with is_atomic only"):
        await manager.add_schedule("counters", NIGHTLY, in_place)
    for cron, zone in (("at three", None), ("0 3 * *", None), (NIGHTLY, "Mars/Olympus")):
        with pytest.raises(InvalidRequest, match="cron: expected minute, hour") as caught:
            await manager.add_schedule("counters", cron, time_zone=zone)
        assert repr(cron) in str(caught.value)
        assert zone is None or zone in str(caught.value)
    assert await manager.get_schedules() == []


async def test_schedules_made_otherwise_are_told_from_those_of_others(
    client: Client, database: Database
) -> None:
    async def make(schedule_id: str, kind: str, task_queue: str, *inputs: Any) -> None:
        await client.create_schedule(
            schedule_id,
            Schedule(
                action=ScheduleActionStartWorkflow(
                    kind, args=list(inputs), id=schedule_id, task_queue=task_queue
                ),
                spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=_HOUR)]),
                state=ScheduleState(paused=True),
            ),
        )

    async with managed(client, database) as manager:
        ours = queue(database)
        others = ["bills", "elsewhere"]
        try:
            await make("by-hand", "Snapshot", ours, {"projection": "counters"})
            await make("odd", "Backfill", ours)
            await make("bills", "SendBills", ours)
            await make("elsewhere", "Backfill", "their-queue", {"projection": "counters"})
            by_hand, odd = await listed(manager, "by-hand", "odd")
            assert (by_hand.workflow, by_hand.projection) == ("Snapshot", "counters")
            assert (by_hand.paused, by_hand.when) == (True, ["@every 1:00:00"])
            assert (odd.projection, odd.request) == ("", {})
            with pytest.raises(NoSchedule):
                await manager.remove_schedule("bills")
        finally:
            for schedule_id in others:
                with suppress(RPCError):
                    await client.get_schedule_handle(schedule_id).delete()


@pytest.mark.parametrize(
    ("cron", "when"),
    [
        ("*/15 8-17 * * 1-5", "*/15 8-17 * * 1-5"),
        ("0 0,12 1 */2 *", "0 0,12 1 */2 *"),
        ("@weekly", "0 0 * * 0"),
        ("5 4 * * sun", "5 4 * * 0"),
        ("30 0 3 * * * *", "0 3 * * * (second 30)"),
        ("0 3 1 1 * 2030", "0 3 1 1 * (in 2030)"),
        ("@every 30m", "@every 0:30:00"),
    ],
)
async def test_cron_expressions_are_shown_as_they_were_given(
    client: Client, cron: str, when: str
) -> None:
    # A name of its own: one that was deleted is listed for a moment longer.
    name = f"shown-{uuid4()}"
    action = ScheduleActionStartWorkflow(
        "Backfill", {"projection": "counters"}, id="never", task_queue=name
    )
    handle = await client.create_schedule(
        name, Schedule(action=action, spec=ScheduleSpec(cron_expressions=[cron]))
    )
    try:
        manager = ProjectionManager(client, task_queue=name)
        (found,) = await listed(manager, name)
        assert found.when == [when]
    finally:
        await handle.delete()
        await listed(manager)
