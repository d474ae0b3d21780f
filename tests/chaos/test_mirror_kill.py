"""SIGKILL of the worker of a mirror, again and again: every event once, and in order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle

from tests.support.databases import Database
from tests.support.mirrored import numbered
from tests.support.mirroring import as_landed, landed
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import queue, until
from tests.support.soaking import soak

EVENTS_PER_KILL = 1000
SEED = 14


async def count(database: Database) -> int:
    async with database.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM refold.events")) or 0)


async def more_than(database: Database, wanted: int, seconds: float) -> None:
    """Waits until so many events have landed."""

    async def has_moved() -> bool:
        return await count(database) >= wanted

    await until(has_moved, seconds)


def stretching(client: Client, database: Database, events: int) -> dict[str, str]:
    """The environment of workers that have a mirror of so many events."""
    return worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_MIRRORS="tests.support.mirrored:stretch",
        STRETCH=str(events),
        # Deaths are noticed sooner.
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )


async def started(client: Client, database: Database, rate: int) -> WorkflowHandle[Any, Any]:
    """The mirror, in small batches, at so many events a second."""
    request = {"mirror": "stretch", "batch_size": 20, "events_per_second": rate}
    return await client.start_workflow(
        "Mirror", request, id=f"mirror/{queue(database)}", task_queue=queue(database)
    )


async def assert_ends_whole(
    handle: WorkflowHandle[Any, Any], database: Database, events: int
) -> None:
    """The mirror is cancelled once all has landed: every event once, in order."""
    await more_than(database, events, 90)
    await handle.signal("cancel")
    await asyncio.wait_for(handle.result(), 60)
    assert await landed(database) == as_landed([numbered(number) for number in range(events)])


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kills", "seed"), [(1, SEED), *soak((20, random.randrange(2**32)))], ids=["1", "20"]
)
async def test_each_event_lands_once_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, kills: int, seed: int
) -> None:
    print(f"mirror: seed {seed}")
    chance = random.Random(seed)
    events = EVENTS_PER_KILL * (kills + 1)
    with worker_processes(stretching(client, database, events), tmp_path) as workers:
        worker = workers.start()
        handle = await started(client, database, rate=1000)
        seen = 0
        for number in range(kills):
            await more_than(database, seen + chance.randint(1, 750), 60)
            # Anywhere within a batch.
            await asyncio.sleep(chance.uniform(0, 0.05))
            worker.kill()
            seen = await count(database)
            assert seen < events, f"it was over before kill {number + 1}"
            worker = workers.start()
        await assert_ends_whole(handle, database, events)


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_worker_that_was_frozen_writes_nothing_when_it_wakes(
    client: Client, database: Database, tmp_path: Path
) -> None:
    events = 12_000
    with worker_processes(stretching(client, database, events), tmp_path) as workers:
        first = workers.start()
        handle = await started(client, database, rate=500)

        async def copied(more: int) -> None:
            await more_than(database, await count(database) + more, 90)

        await copied(1500)
        for _ in range(3):
            first.stop()
            second = workers.start()
            await copied(300)  # the other one has taken over, whatever the first one held
            first.cont()
            await copied(300)
            first.kill()
            first = second
        await handle.execute_update("set_limits", {"events_per_second": 0})
        await assert_ends_whole(handle, database, events)
