"""Live projections under workers that are killed and writers that commit out of order."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold import Projection
from refold.projection.registry import Registry
from refold.source.reader import read_window
from refold.store import generations
from refold.store.schema import events
from tests.chaos.test_appending import appending
from tests.support.at_once import at_once
from tests.support.counters import counters, registry_of, siblings
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.live import live
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, checkpoint, queue, run, until, working, write
from tests.support.soaking import soak


@pytest.mark.parametrize("database", PLACES, indirect=True)
@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.soak)])
async def test_nothing_is_missed_or_taken_twice_while_several_follow(
    client: Client, database: Database, seconds: float
) -> None:
    seed = random.randrange(2**32)
    print(f"following: seed {seed}")
    projections = [counters(batch_size=20), *siblings(), at_once(name="folded", batch_size=40)]
    async with (
        working(client, database, registry_of(*projections)),
        AsyncExitStack() as stack,
    ):
        for projection in projections:
            await run(client, database, "Rebuild", projection.name)
            await stack.enter_async_context(live(client, database, projection=projection.name))
        async with appending(database, seed):
            await asyncio.sleep(seconds)
        async with database.log.connect() as connection:
            highest = await connection.scalar(select(func.max(events.c.position))) or 0

        async def caught_up() -> bool:
            reached = [await checkpoint(database.engine, one) for one in projections]
            return min(reached) >= highest

        await until(caught_up)
    print(f"following: {highest} positions")
    for projection in projections:
        assert await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("database", PLACES, indirect=True)
@pytest.mark.parametrize("rounds", [1, pytest.param(8, marks=pytest.mark.soak)])
async def test_rows_are_right_at_every_checkpoint_whatever_goes_on(
    client: Client, database: Database, rounds: int
) -> None:
    seed = random.randrange(2**32)
    print(f"looking: seed {seed}")
    projection = counters(batch_size=20, partitions=2)
    over = asyncio.Event()
    looked: set[tuple[int, int]] = set()

    async def look() -> None:
        clock = asyncio.get_running_loop().time
        while not over.is_set():
            began = clock()
            looked.add(await assert_right_now(database.engine, projection))
            # The log grows with each look: the runs have most of the time, however long one takes.
            await asyncio.sleep(max(0.02, 3 * (clock() - began)))

    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database), appending(database, seed):
            looking = asyncio.create_task(look())
            for kind in ["Rebuild", "Backfill", "Rollback", "Backfill"] * rounds:
                await run(client, database, kind, "counters")
            over.set()
            await looking
    print(f"looking: {len(looked)} checkpoints of {len({g for g, _ in looked})} generations")
    assert len(looked) > 10 * rounds
    assert len({generation for generation, _ in looked}) > 1


async def assert_right_now(engine: AsyncEngine, projection: Projection) -> tuple[int, int]:
    """Compares what readers see with the fold up to its checkpoint, all in one snapshot."""
    snapshot = engine.execution_options(isolation_level="REPEATABLE READ")
    async with snapshot.connect() as connection, connection.begin():
        # Before the snapshot is taken: afterwards no swap can come between.
        await connection.execute(text(f"LOCK TABLE {projection.table.name} IN ACCESS SHARE MODE"))
        active = await generations.active(connection, projection.name)
        assert active is not None
        position = active.position or 0
        read = await read_window(
            connection, types=projection.event_types, after=0, upto=position, limit=10**6
        )
        rows = [dict(row._mapping) for row in await connection.execute(select(projection.table))]
    expected = await asyncio.to_thread(projection.fold, read)
    assert {row["key"]: row for row in rows} == expected, f"at {position}"
    return active.generation, position


@pytest.mark.timeout(900)  # up to a quarter of a minute a kill, until all time limits are over
@pytest.mark.parametrize("database", PLACES, indirect=True)
@pytest.mark.parametrize("kills", [1, *soak(2, 20)])
async def test_it_goes_on_though_workers_are_killed(
    client: Client, database: Database, tmp_path: Path, kills: int
) -> None:
    keys = 20
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
        async with database.log.connect() as connection:
            highest = await connection.scalar(select(func.max(events.c.position)))

        async def caught_up() -> bool:
            return bool(await checkpoint(database.engine, counting) == highest)

        await until(caught_up, 120)
        await handle.terminate()
    await assert_oracle(database.engine, counting)
