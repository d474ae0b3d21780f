"""Live projections under workers that are killed and writers that commit out of order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from refold.registry import Registry
from refold.store.schema import events
from tests.chaos.test_appending import appending
from tests.support.counters import counters, registry_of
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, checkpoint, queue, run, until, working, write


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.soak)])
async def test_nothing_is_missed_or_taken_twice_while_following(
    client: Client, database: Database, seconds: float
) -> None:
    seed = random.randrange(2**32)
    print(f"following: seed {seed}")
    projection = counters(batch_size=20)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        handle = await client.start_workflow(
            "Projection",
            {"projection": "counters"},
            id=f"projection/{queue(database)}",
            task_queue=queue(database),
        )
        async with appending(database, seed):
            await asyncio.sleep(seconds)
        async with database.engine.connect() as connection:
            highest = await connection.scalar(select(func.max(events.c.position)))

        async def caught_up() -> bool:
            return await checkpoint(database.engine, projection) >= (highest or 0)

        await until(caught_up)
        await handle.terminate()
    await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
async def test_it_goes_on_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, kills: int
) -> None:
    keys = 40
    await write(database.engine, counted_events(keys))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.counting")
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        handle = await client.start_workflow(
            "Projection",
            {"projection": "counting"},
            id=f"projection/{queue(database)}",
            task_queue=queue(database),
        )
        position = await checkpoint(database.engine, counting)
        for _ in range(kills):
            await write(database.engine, counted_events(keys))
            before = position

            async def has_moved(before: int = before) -> bool:
                return await checkpoint(database.engine, counting) > before

            await until(has_moved, 120)
            worker.kill()
            position = await checkpoint(database.engine, counting)
            worker = workers.start()
        async with database.engine.connect() as connection:
            highest = await connection.scalar(select(func.max(events.c.position)))

        async def caught_up() -> bool:
            return bool(await checkpoint(database.engine, counting) == highest)

        await until(caught_up, 120)
        await handle.terminate()
    await assert_oracle(database.engine, counting)
