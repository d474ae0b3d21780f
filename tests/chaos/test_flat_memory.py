"""A worker that follows live projections for hours takes no more memory than after minutes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from temporalio.client import Client

from tests.support.databases import Database
from tests.support.live import live
from tests.support.memory import MB, resident
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, checkpoint, run, until
from tests.support.trio import TRIO

MINUTES = float(os.environ.get("REFOLD_SOAK_MINUTES", "60"))
SETTLED_MINUTES = min(10.0, MINUTES / 2)
MOST_GROWTH = 10 * MB
EVENTS_PER_SECOND = 100
SAMPLE_SECONDS = 15.0

_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 's-' || $1 || '-' || i, 1, 'Added',
       jsonb_build_object('n', i, 'key', 'k' || (random() * 5000)::int)
FROM generate_series(1, $2::int) i
"""


@pytest.mark.soak
@pytest.mark.timeout(60 * MINUTES + 600)
async def test_an_hour_of_three_live_projections(
    client: Client, database: Database, tmp_path: Path
) -> None:
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.trio")
    for short in ("REFOLD_HEARTBEAT_TIMEOUT_SECONDS", "REFOLD_SEGMENT_SECONDS"):
        del environment[short]
    with worker_processes(environment, tmp_path, fresh=True) as processes:
        worker = processes.start()
        async with AsyncExitStack() as stack:
            for projection in TRIO:
                await run(client, database, "Rebuild", projection.name)
                await stack.enter_async_context(live(client, database, projection=projection.name))
            appended = await stack.enter_async_context(appending(database))
            samples = await sampled(worker.pid)
            assert worker.running, worker.output
            position = await appended()

            async def caught_up() -> bool:
                reached = [await checkpoint(database.engine, one) for one in TRIO]
                return min(reached) >= position

            await until(caught_up)
    for projection in TRIO:
        assert await assert_oracle(database.engine, projection)
    settled = [size for minute, size in samples if minute >= SETTLED_MINUTES]
    growth = max(settled) - min(settled)
    print(f"{position:,} events; from {min(settled) / MB:.1f} to {max(settled) / MB:.1f} MiB")
    assert growth <= MOST_GROWTH, f"{growth / MB:.1f} MiB: {samples}"


async def sampled(pid: int) -> list[tuple[float, int]]:
    """The process's memory every few seconds, by minutes since the beginning."""
    clock = asyncio.get_running_loop().time
    began = clock()
    samples: list[tuple[float, int]] = []
    while (minute := (clock() - began) / 60) < MINUTES:
        samples.append((minute, resident(pid)))
        print(f"minute {minute:5.2f}: {samples[-1][1] / MB:6.1f} MiB", flush=True)
        await asyncio.sleep(SAMPLE_SECONDS)
    return samples


@asynccontextmanager
async def appending(database: Database) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Appends at a steady rate until the context ends; yields what stops it."""
    task = asyncio.create_task(_append(database))

    async def stopped() -> int:
        task.cancel()
        await asyncio.wait([task])
        connection = await asyncpg.connect(database.url)
        highest: int = await connection.fetchval("SELECT max(position) FROM refold.events")
        await connection.close()
        return highest

    try:
        yield stopped
    finally:
        task.cancel()


async def _append(database: Database) -> None:
    connection = await asyncpg.connect(database.url)
    clock = asyncio.get_running_loop().time
    began, number = clock(), 0
    try:
        while True:
            number += 1
            await connection.execute(_APPEND, str(number), EVENTS_PER_SECOND // 10)
            await asyncio.sleep(max(0.0, began + number / 10 - clock()))
    finally:
        await connection.close()
