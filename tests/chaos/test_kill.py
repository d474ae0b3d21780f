"""SIGKILL of the worker, again and again in one run: nothing is lost, little is done twice."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.engine.cutover.verification import SAMPLED_KEYS
from refold.projection.registry import Registry
from tests.support.counting import (
    BATCH_SIZE,
    EVENTS_PER_KEY,
    PARTITIONS,
    counted_events,
    counting,
    folds,
)
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.processes import WorkerProcesses, worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, run, start, working, write
from tests.support.soaking import soak
from tests.support.watching import batches, undone, until_batches

# By the number of kills: after twelve there must be events that nobody has folded.
KEYS = {1: 150, 2: 600, 5: 600, 12: 600}
# A batch ends with its last key, so it may be longer by one.
LONGEST_BATCH = BATCH_SIZE + EVENTS_PER_KEY


async def kill_at_random(
    database: Database, workers: WorkerProcesses, chance: random.Random, kills: int
) -> None:
    """Kills the worker so many times while it commits batches; a new one is there at the end."""
    worker = workers.start()
    seen = 0
    for _ in range(kills):
        seen = await until_batches(database, seen + chance.randint(1, 4))
        # Not at the commit that was just seen, but anywhere in the batches after it.
        await asyncio.sleep(chance.uniform(0, 0.1))
        assert await undone(database.engine) > 0, "the run was over before the kill"
        worker.kill()
        seen = await batches(database.engine)
        worker = workers.start()


def chance_of(name: str) -> random.Random:
    seed = random.randrange(2**32)
    print(f"{name}: seed {seed}")
    return random.Random(seed)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, id="1 kill"),
        pytest.param(2, id="2 kills", marks=pytest.mark.soak),
        pytest.param(5, id="5 kills", marks=pytest.mark.soak),
        pytest.param(12, id="12 kills", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize("kind", ["Rebuild", *soak("Backfill")])
@pytest.mark.parametrize("database", PLACES, indirect=True)
async def test_every_event_is_folded_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, kind: str, kills: int
) -> None:
    chance = chance_of(kind)
    engine, counted = database.engine, tmp_path / "folds"
    keys = KEYS[kills]
    count = keys * EVENTS_PER_KEY
    await write(engine, counted_events(keys))
    if kind == "Backfill":
        async with working(client, database, Registry([counting])):
            await run(client, database, "Rebuild", "counting")
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE counting SET sum = 0 WHERE key < 'k00300'"))
            await connection.execute(text("DELETE FROM counting WHERE key > 'k00500'"))
            await connection.execute(text("INSERT INTO counting VALUES ('a', 1, 1, 1)"))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        COUNT_FILE=str(counted),
        # Deaths are noticed sooner, and attempts in a row, each waiting longer, are fewer.
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
        REFOLD_SEGMENT_SECONDS="0.3",
    )
    with worker_processes(environment, tmp_path) as workers:
        handle = await start(
            client,
            database,
            kind,
            {"projection": "counting"},
            workflow_id=f"killed/{kind}/{database.url}",
        )
        await kill_at_random(database, workers, chance, kills)
        result = await asyncio.wait_for(handle.result(), 150)
    assert (result.status, result.events_processed) == ("completed", count)
    assert result.generation == 1
    assert len(await assert_oracle(engine, counting)) == keys
    assert await leftovers(engine) == []
    times = folds(counted)
    assert set(times) == set(range(1, count + 1))
    again = times.total() - count
    print(f"{kind}: {again} of {count} events folded again after {kills} kills")
    # Verification folds some keys again, on purpose: drawn from the table, and from the log.
    sampled = 2 * SAMPLED_KEYS * EVENTS_PER_KEY if kind == "Rebuild" else 0
    assert again <= kills * PARTITIONS * LONGEST_BATCH + sampled
