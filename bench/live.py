"""How soon an append is visible in a live read model, at 50 appends a second.

make live
python -m bench.live --appends 500 --burst 20000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import asyncpg
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.loaded import loaded
from refold.cli.stack import migrate_url
from refold.live import LiveStatus
from refold.manager import ProjectionManager
from refold.stack.stack import Stack

_PER_SECOND = 50
_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT $1 || i, 1, 'Happened', jsonb_build_object('n', i % 1000) FROM generate_series(1, $2) AS i
"""


async def visible_after(writer: asyncpg.Connection, reader: asyncpg.Connection, n: int) -> float:
    """Milliseconds from a commit until the row is there."""
    await writer.execute(_APPEND, f"one-{n}-", 1)
    began = time.perf_counter()
    while await reader.fetchval("SELECT 1 FROM loaded WHERE id = $1", f"one-{n}-1") is None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    return 1000 * (time.perf_counter() - began)


async def measure(stack: Stack, appends: int, burst: int) -> None:
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    writer = await asyncpg.connect(stack.database_url)
    reader = await asyncpg.connect(stack.database_url)
    await writer.execute(_APPEND, "seed-", 1000)
    await manager.rebuild(loaded.name)
    await manager.start(loaded.name)
    while await manager.get_status(loaded.name) is not LiveStatus.LIVE:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    times = []
    began = time.perf_counter()
    for n in range(appends):
        times.append(await visible_after(writer, reader, n))
        await asyncio.sleep(max(0.0, began + (n + 1) / _PER_SECOND - time.perf_counter()))
    times.sort()
    p95 = times[round(0.95 * (len(times) - 1))]
    print(f"{appends:,} appends at up to {_PER_SECOND} a second")
    print(f"append to visible: median {statistics.median(times):.0f} ms (aim: below 50)")
    print(f"                   p95 {p95:.0f} ms (aim: below 150), longest {times[-1]:.0f} ms")
    began = time.perf_counter()
    await writer.execute(_APPEND, "burst-", burst)
    highest = await writer.fetchval("SELECT max(position) FROM refold.events")
    while (await manager.get_current_checkpoint(loaded.name) or 0) < highest:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    print(f"caught up with {burst:,} events in {seconds:.1f} s, {burst / seconds:,.0f} events/s")
    health = await manager.get_health(loaded.name)
    print(f"and says: {health.status}, {health.standing.lag_events:,} events behind")
    await writer.close()
    await reader.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--burst", type=int, default=100_000)
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "bench.loaded"
    with (
        tempfile.TemporaryDirectory(prefix="refold-live-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        asyncio.run(measure(stack, arguments.appends, arguments.burst))


if __name__ == "__main__":
    main()
