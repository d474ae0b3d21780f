"""A row that refers to a read model which is behind: it is waited with, and said; nothing fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import MetaData
from temporalio.client import Client, WorkflowHandle

from refold import Projection
from refold.engine.folding.refused_rows import Tracing
from refold.manager.health import judged
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveHealth, LiveStatus
from refold.worker.interceptors import waits
from tests.integration.test_foreign_keys import EVENTS, column, customers, orders
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.live import live, until_status
from tests.support.many import run_all
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    last,
    leftovers,
    start,
    until,
    working,
    write,
)

LATER = [
    ("o3", "Ordered", {"customer": "c1", "region": "north"}),
    ("c3", "Registered", {"region": "east"}),
    ("o4", "Ordered", {"customer": "c3", "region": "east"}),
    ("o5", "Ordered", {"customer": "c2", "region": "south"}),
]


async def attempts(handle: WorkflowHandle[Any, Any]) -> list[int]:
    """Of each activity of a workflow so far, those under way too."""
    described = await handle.describe()
    pending = [one.attempt for one in described.raw_description.pending_activities]
    events = (await handle.fetch_history()).events
    begun = [one.activity_task_started_event_attributes.attempt for one in events]
    return [*pending, *begun]


async def test_followers_wait_and_say_so(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK_SECONDS", 0.25)  # what is told then is the same
    metadata = MetaData()
    referred = customers(metadata)
    many = [
        orders(metadata, lambda m, t: [column("customers.customer_id")], name=name)
        for name in ("orders", "shipments")
    ]
    followed, backfilled = many
    await write(database.engine, EVENTS)
    async with working(client, database, registry_of(referred, *many)):
        await run_all(client, database, "Rebuild", ["customers"])
        await run_all(client, database, "Rebuild", [one.name for one in many])
        before = await last(database)
        async with live(client, database, projection=followed.name) as handle:
            await write(database.engine, LATER)
            asked = {"projection": backfilled.name, "criteria": "incremental_update"}
            name = f"{backfilled.name}/{database.url}"
            run = await start(client, database, "Backfill", asked, workflow_id=name)

            async def says() -> bool:
                told = [(await handle.query("health"))["waiting_for"]]
                told += [(await run.query("progress"))["waiting_for"]]
                return all(
                    len(lines) == 1
                    and lines[0].startswith(f"event {before + 3}: 'customers'")
                    and "--incremental" in lines[0]
                    for lines in told
                )

            await until(says)
            # What comes before is there.
            for one in many:
                assert await checkpoint(database.engine, one) == before + 2
            health = await handle.query("health", result_type=LiveHealth)

            async def is_waiting() -> bool:  # between two segments nobody waits, for a moment
                nonlocal health
                health = await handle.query("health", result_type=LiveHealth)
                return bool(health.waiting_for)

            await until(is_waiting)
            assert (health.failing, health.error) == (None, None)
            for waiting in (handle, run):
                assert set(await attempts(waiting)) <= {0, 1}

            async with ProjectionManager(client, database.url) as manager:
                standing = (await manager.get_health(followed.name)).standing
            late = standing.model_copy(update={"lag_seconds": 31.0})
            judgement = judged(
                late, LiveStatus.CATCHING_UP, None, None, waiting_for=health.waiting_for
            )
            assert not judgement.is_healthy
            assert "it waits for event" in (judgement.reason or "")

            # What a run is told meanwhile, it hears.
            await run.signal("pause")
            await until_status(run, "paused")
            await run.signal("resume")
            await until(says)
            await run.signal("cancel")
            assert (await asyncio.wait_for(run.result(), 20)).status == "cancelled"
            run = await start(client, database, "Backfill", asked, workflow_id=name)
            await until(says)
            await run_all(
                client, database, "Backfill", ["customers"], criteria="incremental_update"
            )
            result = await asyncio.wait_for(run.result(), 20)
            assert result.status == "completed"

            async def caught_up() -> bool:
                return await checkpoint(database.engine, followed) == before + len(LATER)

            await until(caught_up)

            async def waits_no_more() -> bool:
                return not (await handle.query("health"))["waiting_for"]

            await until(waits_no_more)
        for one in (referred, followed, backfilled):
            await assert_oracle(database.engine, one)
        await _one_that_comes_as_far_in_between_is_waited_for_too(
            client, database, backfilled, monkeypatch
        )
    assert await leftovers(database.engine) == []


async def _one_that_comes_as_far_in_between_is_waited_for_too(
    client: Client, database: Database, refers: Projection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is refused, then the other read model comes, then it is asked how far it is."""
    require = Tracing.require_not_behind
    came: list[bool] = []

    async def late(self: Tracing, *arguments: Any) -> None:
        if not came:
            came.append(True)
            await run_all(
                client, database, "Backfill", ["customers"], criteria="incremental_update"
            )
        await require(self, *arguments)

    monkeypatch.setattr(Tracing, "require_not_behind", late)
    await write(
        database.engine,
        [
            ("c4", "Registered", {"region": "west"}),
            ("o6", "Ordered", {"customer": "c4", "region": "west"}),
        ],
    )
    await run_all(client, database, "Backfill", [refers.name], criteria="incremental_update")
    assert came
    await assert_oracle(database.engine, refers)
