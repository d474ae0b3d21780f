"""A worker that stands still past its heartbeat timeout and comes back: it changes nothing."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold.projection.registry import Registry
from tests.support.counting import EVENTS_PER_KEY, counted_events, counting
from tests.support.databases import Database
from tests.support.processes import WorkerProcess, worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, run, start, until, working, write
from tests.support.watching import undone, until_batches

KEYS = 150
EVENTS = KEYS * EVENTS_PER_KEY


async def standing(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    """The generations as they stand: checkpoints, fences, all."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT g.* FROM refold.generations g ORDER BY projection, generation")
        )
        return [tuple(row) for row in found]


async def in_a_batch(engine: AsyncEngine) -> bool:
    """Whether somebody's open transaction has moved a partition's checkpoint."""
    async with engine.connect() as connection:
        found = await connection.scalar(
            text(
                "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' AND granted "
                "AND relation = 'refold.partitions'::regclass"
            )
        )
        return bool(found)


async def blocked(engine: AsyncEngine) -> list[str]:
    """Who waits for whose locks."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT format('%s (%s) waits for %s', pid, query, pg_blocking_pids(pid)) "
                "FROM pg_stat_activity WHERE pg_blocking_pids(pid) <> '{}'"
            )
        )
        return list(found.scalars())


async def stop_worker(engine: AsyncEngine, worker: WorkerProcess, *, inside: bool) -> None:
    """Stops a worker between two batches, or inside one: with its locks held."""
    clock = asyncio.get_running_loop().time
    end = clock() + 20
    while True:
        worker.stop()
        # Longer than any statement under way takes to end on the server.
        await asyncio.sleep(0.05)
        if await in_a_batch(engine) == inside:
            return
        worker.cont()
        assert clock() < end, f"not found {'inside' if inside else 'between'} batches"
        assert await undone(engine) > 0, "the run was over before the stop"
        await asyncio.sleep(random.uniform(0, 0.03))


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        # A batch of a rebuild is one statement, which ends on the server also when its worker
        # stands still.
        ("Backfill", "inside a batch"),
        pytest.param("Rebuild", "between batches", marks=pytest.mark.soak),
        pytest.param("Backfill", "between batches", marks=pytest.mark.soak),
    ],
)
async def test_zombie_changes_nothing(
    client: Client, database: Database, tmp_path: Path, kind: str, where: str
) -> None:
    engine = database.engine
    await write(engine, counted_events(KEYS))
    if kind == "Backfill":
        async with working(client, database, Registry([counting])):
            await run(client, database, "Rebuild", "counting")
        async with engine.begin() as connection:
            await connection.execute(text("UPDATE counting SET sum = 0, count = 0"))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        COUNT_FILE=str(tmp_path / "folds"),
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
        REFOLD_SEGMENT_SECONDS="60",  # it is in its segment when it comes back
    )
    with worker_processes(environment, tmp_path) as workers:
        zombie = workers.start()
        handle = await start(
            client,
            database,
            kind,
            {"projection": "counting"},
            workflow_id=f"zombie/{kind}/{database.url}",
        )
        await until_batches(database, 3)
        await stop_worker(engine, zombie, inside=where == "inside a batch")
        other = workers.start()
        try:
            result = await asyncio.wait_for(handle.result(), 180)
        except TimeoutError:
            raise AssertionError(
                f"not taken over within 180 s; waits for locks: {await blocked(engine)}; "
                f"the other worker says:\n{other.output}"
            ) from None
        assert (result.status, result.events_processed) == ("completed", EVENTS)
        assert await other.terminate() == 0
        after = await standing(engine)
        rows = await assert_oracle(engine, counting)
        said = len(zombie.output)
        zombie.cont()

        async def has_spoken() -> bool:
            return len(zombie.output) > said

        await until(has_spoken, 60)
        # It ends once all that it had in hand has ended: nothing comes after this.
        assert await zombie.terminate() == 0
    assert await assert_oracle(engine, counting) == rows
    assert await standing(engine) == after
    assert await leftovers(engine) == []
