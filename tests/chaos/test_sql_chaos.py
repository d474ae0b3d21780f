"""Random logs, selects, batches, partitions and criteria, and workers that are killed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random, randrange
from typing import Any

import pytest
from sqlalchemy import insert
from temporalio.client import Client

from refold.source.reader import read_window
from refold.store.schema import events
from tests.chaos.test_criteria_chaos import a_criterion, a_log, corrupt
from tests.support.databases import Database
from tests.support.processes import WorkerProcesses, worker_environment, worker_processes
from tests.support.runs import last, leftovers, rows_of, start
from tests.support.selected import KINDS, made
from tests.support.selects import assert_selected
from tests.support.soaking import soak


class Killed:
    """A worker that is killed and replaced while runs are under way."""

    def __init__(self, workers: WorkerProcesses, random: Random, kills: int) -> None:
        self._workers, self._random = workers, random
        self._kills = kills
        self._worker = workers.start()

    async def run(
        self, client: Client, database: Database, kind: str, workflow_id: str, **fields: Any
    ) -> None:
        request = {"projection": "counters", **fields}
        handle = await start(client, database, kind, request, workflow_id=workflow_id)
        result = asyncio.create_task(handle.result())
        for _ in range(self._kills):
            await asyncio.wait([result], timeout=self._random.uniform(0.1, 1.5))
            if not result.done():
                self._worker.kill()
                self._worker = self._workers.start()
        assert (await asyncio.wait_for(result, 120)).status == "completed"


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("seed", "kind"), [(5, "merged"), *soak(*[(None, kind) for kind in KINDS for _ in range(8)])]
)
async def test_rows_are_the_select_by_any_route_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, seed: int | None, kind: str
) -> None:
    kills = 1 if seed is not None else 3
    seed = randrange(2**32) if seed is None else seed
    print(f"{kind}: seed {seed}")
    random = Random(seed)
    count, batch, partitions = random.randint(60, 400), random.choice([1, 3, 20, 1000]), 0
    if seed == 5:
        count, batch = 120, 7
    partitions = random.randint(1, 4)
    projection = made(kind, batch, partitions)
    log = a_log(random, count + 60)
    async with database.engine.begin() as connection:
        await connection.execute(insert(events), log[:count])
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.selected",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
        REFOLD_SEGMENT_SECONDS=str(random.choice([0.01, 1, 10])),
        SELECT_KIND=kind,
        SELECT_BATCH=str(batch),
        SELECT_PARTITIONS=str(partitions),
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = Killed(workers, random, kills)
        await worker.run(client, database, "Rebuild", f"{database.url}/1")
        right = await assert_selected(database.engine, projection)
        async with database.engine.connect() as connection, connection.begin():
            logged = await read_window(
                connection, types=projection.event_types, after=0, upto=2**62, limit=2**31
            )
        await corrupt(database, random)
        before = await rows_of(database.engine, projection)
        asked, selects = a_criterion(random, count)
        named = {key for e in logged if selects(e) for key in projection.rows.keys_of(e)}
        asked |= {"is_atomic": random.random() < 0.5, "batch_size": random.choice([1, 7, 50])}
        print(f"{asked}: {len(named)} keys")
        await worker.run(client, database, "Backfill", f"{database.url}/2", **asked)
        after = await rows_of(database.engine, projection)
        for key in named | before.keys() | after.keys() | right.keys():
            repaired = key in named or asked.get("criteria") == "full_rebuild"
            expected = right.get(key) if repaired else before.get(key)
            assert after.get(key) == expected, f"{key!r} of {sorted(named)}"
        await worker.run(client, database, "Backfill", f"{database.url}/3", criteria="full_rebuild")
        async with database.engine.begin() as connection:
            await connection.execute(insert(events), log[count:])
        await worker.run(
            client, database, "Backfill", f"{database.url}/4", criteria="incremental_update"
        )
        assert await last(database) == count + 60
        await assert_selected(database.engine, projection)
    assert await leftovers(database.engine) == []
