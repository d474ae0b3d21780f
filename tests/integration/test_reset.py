"""A workflow that is reset after its end: what the run did stands, and nothing is said twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from refold.errors import RESET
from refold.manager.projections import ProjectionManager
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, until_position, until_status
from tests.support.runs import (
    assert_oracle,
    leftovers,
    queue,
    rows_of,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak


async def tasks(client: Client, handle: WorkflowHandle[Any, Any]) -> list[int]:
    """The workflow tasks that an execution can be reset to."""
    first = handle.first_execution_run_id
    history = await client.get_workflow_handle(handle.id, run_id=first).fetch_history()
    done = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    return [event.event_id for event in history.events if event.event_type == done]


async def reset(client: Client, handle: WorkflowHandle[Any, Any], task: int) -> str:
    """Resets an execution as the Temporal UI does; returns the run id of the new one."""
    answer = await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(
                workflow_id=handle.id, run_id=handle.first_execution_run_id or ""
            ),
            reason="a test",
            workflow_task_finish_event_id=task,
            request_id=str(uuid4()),
        )
    )
    return answer.run_id


async def refused(client: Client, handle: WorkflowHandle[Any, Any], run_id: str) -> str:
    again = client.get_workflow_handle(handle.id, run_id=run_id)
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(again.result(), 60)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "RunEnded"
    return failed.value.cause.message


@pytest.mark.parametrize("kind", ["Rebuild", *soak("Snapshot", "Backfill", "Rollback")])
@pytest.mark.usefixtures("counters_built")
async def test_a_completed_run_that_is_reset_is_refused_wherever_it_is_reset_to(
    client: Client, database: Database, kind: str
) -> None:
    projection = counters(batch_size=50)
    async with working(client, database, registry_of(projection)):
        if kind == "Rollback":
            await run(client, database, "Rebuild", "counters")
        handle = await start(client, database, kind, {"projection": "counters"})
        await handle.result()
        before = await assert_oracle(database.engine, projection)
        # The last task is the one that ended it: there is nothing to do anew after it.
        every = await tasks(client, handle)
        for task in {every[0], every[len(every) // 2], every[-2]}:
            said = await refused(client, handle, await reset(client, handle, task))
            assert RESET in said
        assert await assert_oracle(database.engine, projection) == before
    assert await leftovers(database.engine) == []


async def test_a_failed_run_that_is_reset_says_why_it_cannot_go_on(
    client: Client, database: Database
) -> None:
    await write(database.engine, [*some(20), ("s1", "Broken", {"key": "k001"})])
    async with working(client, database, registry_of(counters(batch_size=50))):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(WorkflowFailureError):
            await handle.result()
        for task in (await tasks(client, handle))[:-1][::3]:
            said = await refused(client, handle, await reset(client, handle, task))
            assert RESET in said
    assert await leftovers(database.engine) == []


async def test_a_run_that_is_reset_while_it_goes_on_goes_on(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=50)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        while await handle.query("status") != "awaiting_approval":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        run_id = await reset(client, handle, (await tasks(client, handle))[0])
        again: WorkflowHandle[Any, Any] = client.get_workflow_handle(handle.id, run_id=run_id)
        while await again.query("status") != "awaiting_approval":  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await again.signal("approve")
        result = await asyncio.wait_for(again.result(), 60)
        assert result["status"] == "completed"
        await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("ending", ["cancelled", *soak("rejected", "undone", "refused")])
@pytest.mark.usefixtures("counters_built")
async def test_however_a_run_has_ended_a_reset_of_it_is_refused(
    client: Client, database: Database, ending: str
) -> None:
    projection = counters(batch_size=50)
    async with working(client, database, registry_of(projection)):
        handle = await _ended(client, database, ending)
        before = await rows_of(database.engine, projection)
        for task in (await tasks(client, handle))[:-1][::4]:
            said = await refused(client, handle, await reset(client, handle, task))
            assert RESET in said
        assert await rows_of(database.engine, projection) == before
        if ending != "undone":  # what it failed at is there still
            again = await run(client, database, "Backfill", "counters")
            assert again.status == "completed"  # the run is in nobody's way
    assert await leftovers(database.engine) == []


async def _ended(client: Client, database: Database, ending: str) -> WorkflowHandle[Any, Any]:
    asked: dict[str, Any] = {"projection": "counters", "approval": "manual"}
    kind = "Rebuild"
    if ending == "undone":
        await write(database.engine, [("bad", "Broken", {"key": "k000"})])
        kind, asked = "Backfill", {"projection": "counters", "rollback_on_failure": True}
    elif ending == "refused":
        kind, asked = "Rollback", {"projection": "counters", "to_generation": 77}
    handle = await start(client, database, kind, asked)
    if kind == "Rebuild":
        await until_status(handle, "awaiting_approval")
        await handle.signal("cancel" if ending == "cancelled" else "reject")
        await asyncio.wait_for(handle.result(), 60)
    else:
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 60)
    return handle


@pytest.mark.usefixtures("counters_built")
async def test_a_live_projection_that_is_reset_follows_on(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with (
        working(client, database, registry_of(projection)),
        live(client, database) as handle,
    ):
        await write(database.engine, some(start_at=300))
        await until_position(database, 400)
        run_id = await reset(client, handle, (await tasks(client, handle))[0])
        again: WorkflowHandle[Any, Any] = client.get_workflow_handle(handle.id, run_id=run_id)
        await write(database.engine, some(start_at=600))
        await until_position(database, 600)
        await until_status(again, "live")
        await again.terminate()
    await assert_oracle(database.engine, projection)


@pytest.mark.soak
async def test_a_schedules_run_that_is_reset_is_refused(client: Client, database: Database) -> None:
    projection = counters()
    await write(database.engine, some())
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with working(client, database, registry_of(projection)):
        schedule = f"schedule/{queue(database)}"
        await manager.add_schedule("counters", "0 3 * * *", schedule_id=schedule)
        try:
            await client.get_schedule_handle(schedule).trigger()

            async def begun() -> bool:
                (one,) = [one for one in await manager.get_schedules() if one.id == schedule]
                return one.last_workflow_id is not None

            await until(begun)
            (one,) = [one for one in await manager.get_schedules() if one.id == schedule]
            handle = client.get_workflow_handle(str(one.last_workflow_id))
            await asyncio.wait_for(handle.result(), 60)
            first = (await tasks(client, handle))[0]
            said = await refused(client, handle, await reset(client, handle, first))
            assert RESET in said
        finally:
            await manager.remove_schedule(schedule)
            await manager.close()
