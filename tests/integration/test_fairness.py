"""Who has queued much does not keep others waiting."""

from __future__ import annotations

import asyncio

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from refold.requests.fairness import fairness_key
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after, live, until_status
from tests.support.runs import start, until, working, write
from tests.support.segments import Segments

MANY, FEW = 60, 5


async def test_few_segments_of_one_tenant_do_not_wait_for_many_of_another(client: Client) -> None:
    done: list[str] = []

    @activity.defn(name="segment")
    async def segment(tenant: str) -> None:
        await asyncio.sleep(0.02)
        done.append(tenant)

    async def ask(tenant: str, count: int) -> None:
        handle = await client.start_workflow(
            "Segments", args=[tenant, count], id=f"segments/{tenant}", task_queue="fairness"
        )
        await handle.result()

    worker = Worker(
        client,
        task_queue="fairness",
        workflows=[Segments],
        activities=[segment],
        max_concurrent_activities=1,
        disable_eager_activity_execution=True,
    )
    async with worker:
        large = asyncio.create_task(ask("large", MANY))
        async with asyncio.timeout(20):
            while len(done) < 3:  # noqa: ASYNC110 - it is being worked on
                await asyncio.sleep(0.01)
        await ask("small", FEW)
        before = done.count("large")
        await large
    assert done.count("small") == FEW
    # First come, first served, it would have come after all of them.
    assert before < MANY / 3, f"{before} of {MANY} came first"


async def test_activities_and_runs_that_are_asked_for_carry_their_key(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    async with (
        working(client, database, registry_of(counters(partitions=2))),
        ended_after(client, "backfill/counters"),
    ):
        run = await start(client, database, "Rebuild", {"projection": "counters"})
        await run.result()
        assert await _keys(client, run.id) == {"counters"}
        async with live(client, database) as handle:
            await until_status(handle, "live")
            await handle.signal("ProjectionBackfillRequested", {"requested_by": "a test"})

            async def started() -> bool:
                return "backfill/counters" in [
                    event.child_workflow_execution_started_event_attributes.workflow_execution.workflow_id
                    for event in (await handle.fetch_history()).events
                ]

            await until(started)
            assert await _keys(client, handle.id) == {"counters"}
            child = client.get_workflow_handle("backfill/counters")
            first = (await child.fetch_history()).events[0]
            begun = first.workflow_execution_started_event_attributes
            assert begun.priority.fairness_key == "counters"
            await child.result()


@pytest.mark.usefixtures("counters_built")
async def test_a_run_for_a_tenant_carries_the_tenant(client: Client, database: Database) -> None:
    registry = registry_of(counters(partitions=2))
    async with working(client, database, registry, tenant_path="stream_id"):
        request = {"projection": "counters", "criteria": "full_rebuild", "tenant": "s1"}
        handle = await start(client, database, "Backfill", request)
        assert (await handle.result()).status == "completed"
        assert await _keys(client, handle.id) == {"s1"}


async def _keys(client: Client, workflow_id: str) -> set[str]:
    history = await client.get_workflow_handle(workflow_id).fetch_history()
    scheduled = [
        event.activity_task_scheduled_event_attributes
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert scheduled
    return {attributes.priority.fairness_key for attributes in scheduled}


@pytest.mark.parametrize(
    ("tenant", "key"),
    [
        (None, "order-summary"),
        ("", "order-summary"),
        ("acme", "acme"),
        ("a" * 70, "a" * 64),
        ("a" + "ä" * 40, "a" + "ä" * 31),
    ],
)
def test_the_key_is_the_tenant_else_the_projection(tenant: str | None, key: str) -> None:
    assert fairness_key("order-summary", tenant) == key
