"""How soon an append is visible in a live read model, at 50 appends a second.

A writer appends on a schedule of its own, whatever is visible; a reader looks, about every
millisecond, which of the appends have become visible. The schedule is random within each of its
steps, so that appends do not fall into step with the follower's looks.

make live
python -m bench.live --appends 500 --burst 20000 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.loaded import loaded
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.messages.live import LiveStatus
from refold.stack.stack import Stack

_PER_SECOND = 50
_LOOK_SECONDS = 0.001
_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT $1 || i, 1, 'Happened', jsonb_build_object('n', i % 1000) FROM generate_series(1, $2) AS i
"""
_VISIBLE = "SELECT id FROM loaded WHERE id = ANY($1::text[])"


@dataclass
class Seen:
    """What writer and reader have seen; times are of `time.perf_counter`.

    Attributes:
        committed: When each append was known to be committed, by row.
        outstanding: Those of them that are not visible yet.
        milliseconds: From commit to visible, of the others.
        written: Whether the writer has ended.
    """

    committed: dict[str, float] = field(default_factory=dict)
    outstanding: set[str] = field(default_factory=set)
    milliseconds: list[float] = field(default_factory=list)
    written: bool = False

    @property
    def rate(self) -> float:
        """Appends a second, as committed."""
        times = self.committed.values()
        return (len(times) - 1) / (max(times) - min(times))

    def percentile(self, percent: float) -> float:
        """The nearest rank."""
        ordered = sorted(self.milliseconds)
        return ordered[round(percent / 100 * (len(ordered) - 1))]


async def write(url: str, appends: int, chance: random.Random, seen: Seen) -> None:
    """Appends one event at a random time in each fiftieth of a second."""
    connection = await asyncpg.connect(url)
    began = time.perf_counter()
    for n in range(appends):
        due = began + (n + chance.random()) / _PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        await connection.execute(_APPEND, f"one-{n}-", 1)
        seen.committed[f"one-{n}-1"] = time.perf_counter()
        seen.outstanding.add(f"one-{n}-1")
    seen.written = True
    await connection.close()


async def read(url: str, seen: Seen) -> None:
    """Looks for all that is outstanding, until everything has been visible."""
    connection = await asyncpg.connect(url)
    while seen.outstanding or not seen.written:
        if seen.outstanding:
            visible = await connection.fetch(_VISIBLE, list(seen.outstanding))
            now = time.perf_counter()
            for row in visible:
                seen.outstanding.remove(row["id"])
                seen.milliseconds.append(1000 * (now - seen.committed[row["id"]]))
        await asyncio.sleep(_LOOK_SECONDS)
    await connection.close()


async def trickle(url: str, appends: int, seed: int) -> None:
    """Appends at a steady rate, and how soon each was visible."""
    seen = Seen()
    async with asyncio.TaskGroup() as group:
        group.create_task(write(url, appends, random.Random(seed), seen))
        group.create_task(read(url, seen))
    print(f"{appends:,} appends, {seen.rate:.1f} a second (aim: {_PER_SECOND}), seed {seed}")
    print(
        f"append to visible: median {statistics.median(seen.milliseconds):.0f} ms (aim: below 50)"
    )
    print(
        f"                   p95 {seen.percentile(95):.0f} ms (aim: below 150), "
        f"longest {max(seen.milliseconds):.0f} ms"
    )


async def burst(url: str, manager: ProjectionManager, events: int) -> None:
    """Appends many events at once, and how soon it has caught up and says so."""
    connection = await asyncpg.connect(url)
    await connection.execute(_APPEND, "burst-", events)
    began = time.perf_counter()
    highest = await connection.fetchval("SELECT max(position) FROM refold.events")
    await connection.close()
    while (await manager.get_current_checkpoint(loaded.name) or 0) < highest:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    print(f"caught up with {events:,} events in {seconds:.1f} s, {events / seconds:,.0f} events/s")
    health = await manager.get_health(loaded.name)
    while health.status is not LiveStatus.LIVE or health.standing.lag_events:
        await asyncio.sleep(0.1)
        health = await manager.get_health(loaded.name)
    print(
        f"says so after {time.perf_counter() - began:.1f} s: {health.status}, "
        f"{health.standing.lag_events:,} events behind"
    )


async def measure(stack: Stack, appends: int, events: int, seed: int) -> None:
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    connection = await asyncpg.connect(stack.database_url)
    await connection.execute(_APPEND, "seed-", 1000)
    await connection.close()
    await manager.rebuild(loaded.name)
    await manager.start(loaded.name)
    while await manager.get_status(loaded.name) is not LiveStatus.LIVE:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    await trickle(stack.database_url, appends, seed)
    await burst(stack.database_url, manager, events)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--appends", type=int, default=1000)
    parser.add_argument("--burst", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "bench.loaded"
    with (
        tempfile.TemporaryDirectory(prefix="refold-live-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        asyncio.run(measure(stack, arguments.appends, arguments.burst, arguments.seed))


if __name__ == "__main__":
    main()
