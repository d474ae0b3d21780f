"""SIGKILL of the worker of a mirror, again and again: every event once, and in order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from tests.support.databases import Database
from tests.support.mirrored import numbered
from tests.support.mirroring import as_landed, landed
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import queue, until
from tests.support.soaking import soak

EVENTS_PER_KILL = 2000
SEED = 14


async def count(database: Database) -> int:
    async with database.engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM refold.events")) or 0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kills", "seed"), [(2, SEED), *soak((20, random.randrange(2**32)))], ids=["2", "20"]
)
async def test_each_event_lands_once_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, kills: int, seed: int
) -> None:
    print(f"mirror: seed {seed}")
    chance = random.Random(seed)
    events = EVENTS_PER_KILL * (kills + 1)
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_MIRRORS="tests.support.mirrored:stretch",
        STRETCH=str(events),
        # Deaths are noticed sooner.
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    request = {"mirror": "stretch", "batch_size": 20, "events_per_second": 2000}
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        handle = await client.start_workflow(
            "Mirror", request, id=f"mirror/{queue(database)}", task_queue=queue(database)
        )
        seen = 0
        for number in range(kills):
            wanted = seen + chance.randint(1, 1500)

            async def has_moved(wanted: int = wanted) -> bool:
                return await count(database) >= wanted

            await until(has_moved, 60)
            # Anywhere within a batch.
            await asyncio.sleep(chance.uniform(0, 0.05))
            worker.kill()
            seen = await count(database)
            assert seen < events, f"it was over before kill {number + 1}"
            worker = workers.start()

        async def is_over() -> bool:
            return await count(database) >= events

        await until(is_over, 90)
        await handle.signal("cancel")
        await asyncio.wait_for(handle.result(), 60)
    assert await landed(database) == as_landed([numbered(number) for number in range(events)])


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_a_worker_that_was_frozen_writes_nothing_when_it_wakes(
    client: Client, database: Database, tmp_path: Path
) -> None:
    events = 12_000
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_MIRRORS="tests.support.mirrored:stretch",
        STRETCH=str(events),
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    request = {"mirror": "stretch", "batch_size": 20, "events_per_second": 500}
    with worker_processes(environment, tmp_path) as workers:
        first = workers.start()
        handle = await client.start_workflow(
            "Mirror", request, id=f"mirror/{queue(database)}", task_queue=queue(database)
        )

        async def copied(more: int) -> int:
            wanted = await count(database) + more

            async def has_moved() -> bool:
                return await count(database) >= wanted

            await until(has_moved, 90)
            return wanted

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
        await copied(events - await count(database))
        await handle.signal("cancel")
        await asyncio.wait_for(handle.result(), 60)
    assert await landed(database) == as_landed([numbered(number) for number in range(events)])
