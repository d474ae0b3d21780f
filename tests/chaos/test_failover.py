"""The server takes no writes for some seconds, as after a failover, under a run and a projection.

``ALTER DATABASE … SET`` holds for sessions that begin: those that were begun while it was on stay
without writes for good, as a connection to a demoted server does.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from refold.projection.registry import Registry
from refold.store.schema import events
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    leftovers,
    queue,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak

_KEYS = 100


async def demote(database: Database, *, lasting: bool) -> None:
    """From now on nothing is written; `lasting`: on sessions of now, for as long as they live.

    Who is connected is thrown out, as the server that was the primary is restarted as a standby.
    """
    name = database.url.rsplit("/", 1)[1]
    connection = await asyncpg.connect(database.url)
    await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    if lasting:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    await connection.close()


async def promote(database: Database) -> None:
    name = database.url.rsplit("/", 1)[1]
    connection = await asyncpg.connect(
        database.url, server_settings={"default_transaction_read_only": "off"}
    )
    await connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await connection.close()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("rounds", [1, *soak(10)])
async def test_a_run_and_a_live_projection_outlive_a_failover(
    client: Client, database: Database, tmp_path: Path, rounds: int
) -> None:
    seed = random.randrange(2**32)
    print(f"failover: seed {seed}")
    chance = random.Random(seed)
    await write(database.engine, counted_events(_KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.counting")
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        following = await client.start_workflow(
            "Projection",
            {"projection": "counting"},
            id=f"projection/{queue(database)}",
            task_queue=queue(database),
        )
        for number in range(rounds):
            await write(database.engine, counted_events(_KEYS))
            handle = await start(
                client,
                database,
                "Rebuild",
                {"projection": "counting", "batch_size": 50, "events_per_second": 1000},
                workflow_id=f"rebuild/{number}/{queue(database)}",
            )
            await asyncio.sleep(chance.uniform(0.2, 2))
            await database.engine.dispose()
            await demote(database, lasting=True)
            await asyncio.sleep(chance.uniform(1, 3))
            await promote(database)
            # Not one of the sessions that were begun meanwhile is used on.
            result = await asyncio.wait_for(handle.result(), 120)
            assert result.generation == number + 2
            await write(database.engine, counted_events(_KEYS))
            async with database.engine.connect() as connection:
                highest = await connection.scalar(select(func.max(events.c.position)))

            async def caught_up(highest: int | None = highest) -> bool:
                return bool(await checkpoint(database.engine, counting) == highest)

            await until(caught_up, 60)
        await following.terminate()
        assert await worker.terminate() == 0
    assert await assert_oracle(database.engine, counting)
    assert await leftovers(database.engine) == []


async def test_a_worker_waits_for_a_server_that_takes_writes(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await database.engine.dispose()
    await demote(database, lasting=False)
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.counting")
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()

        async def said(what: str) -> bool:
            return what in worker.output

        await until(lambda: said("it takes no writes"), 30)
        assert worker.running
        await promote(database)
        await until(lambda: said("working on task queue"), 30)
        assert await worker.terminate() == 0
