"""A live projection that is far behind, under workers that are killed in its strides."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.far_behind import counters
from tests.support.live import live
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, checkpoint, last, run, until, working

_SEED = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 's', i + coalesce((SELECT max(version) FROM refold.events), 0),
       CASE WHEN i % 50 = 0 THEN 'Removed' ELSE 'Added' END,
       jsonb_build_object('key', 'k' || (i * 7919 % 3001), 'n', i % 100)
FROM generate_series(1, 60000) AS i
"""
_FREE = "SELECT 1 FROM refold.generations WHERE status = 'active' FOR UPDATE SKIP LOCKED"


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_workers_are_killed_in_strides(
    client: Client, database: Database, tmp_path: Path
) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    async with working(client, database, registry_of(counters)):
        await run(client, database, "Rebuild", "counters")
    environment = worker_environment(
        client, database, REFOLD_PROJECTIONS="tests.support.far_behind"
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        async with live(client, database):
            for _ in range(6):
                async with database.engine.begin() as connection:
                    await connection.execute(text(_SEED))
                head = await last(database)

                async def in_a_stride() -> bool:
                    async with database.engine.begin() as connection:
                        return (await connection.execute(text(_FREE))).first() is None

                await until(in_a_stride, 120)
                await asyncio.sleep(chance.random() * 5)
                worker.kill()
                print(await checkpoint(database.engine, counters), "of", head)
                await assert_oracle(database.engine, counters)
                worker = workers.start()

            async def caught_up() -> bool:
                return await checkpoint(database.engine, counters) == head

            await until(caught_up, 120)

    await assert_oracle(database.engine, counters)
