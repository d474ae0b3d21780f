"""Readers and appenders flat out while a read model is swapped, again and again.

Eight readers look rows up and count them, directly and through a view that is granted to them;
two appenders write events; meanwhile rebuilds and rollbacks take turns. In the middle a reader
sits in its transaction for five seconds, holding its lock. No read may fail, none may find a row
missing.

    make load                   200,000 rows, 20 swaps
    python -m bench.load --rows 20000 --swaps 4
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.loaded import loaded
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.messages.run.life import Phase
from refold.stack.stack import Stack

READERS, APPENDERS = 8, 2
ROLE = "loaded_reader"
_IDLE_SECONDS = 5.0
_HOLD = re.compile(r"locked out for ([\d.]+) ms")

_SEED = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 's' || i, 1, 'Happened', jsonb_build_object('n', i % 1000) FROM generate_series(1, $1) AS i
"""


@dataclass
class Seen:
    """What the readers saw.

    Attributes:
        times: Seconds each read took.
        problems: Reads that failed, or found rows missing.
        blocked: What progress said the swap waited for.
        appended: Events appended.
    """

    times: list[tuple[float, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    appended: int = 0

    @property
    def longest(self) -> float:
        """The longest read, in milliseconds."""
        return 1000 * max(seconds for _, seconds in self.times)

    @property
    def median(self) -> float:
        """The median read, in milliseconds."""
        return 1000 * statistics.median(seconds for _, seconds in self.times)


async def read(url: str, number: int, rows: int, seen: Seen, rest: float = 0) -> None:
    """Reads again and again, every hundredth time all rows; rests some seconds in between."""
    connection = await asyncpg.connect(url)
    table = "loaded_view" if number % 2 else "loaded"
    if number % 2:
        await connection.execute(f"SET ROLE {ROLE}")
    one, all_ = f"SELECT total FROM {table} WHERE id = $1", f"SELECT count(*) FROM {table}"
    try:
        for turn in range(1, 10**9):
            began = time.perf_counter()
            try:
                if turn % 100:
                    found = await connection.fetchval(one, f"s{random.randint(1, rows)}")
                    missing = found is None
                else:
                    found = await connection.fetchval(all_)
                    missing = found < rows
                if missing:
                    seen.problems.append(f"{table}: found {found}")
            except asyncpg.PostgresError as error:
                seen.problems.append(f"{table}: {error}")
            if turn % 100:
                seen.times.append((began, time.perf_counter() - began))
            if rest:
                await asyncio.sleep(rest)
    finally:
        await connection.close()


async def append(url: str, number: int, rows: int, seen: Seen, rest: float = 0) -> None:
    """Appends again and again, two events a transaction, to streams of its own."""
    connection = await asyncpg.connect(url)
    versions: dict[int, int] = {}
    mine = range(1 + number, rows + 1, APPENDERS)
    statement = (
        "INSERT INTO refold.events (stream_id, version, type, data) "
        "VALUES ($1, $2, 'Happened', jsonb_build_object('n', $3::int))"
    )
    try:
        while True:
            async with connection.transaction():
                for stream in random.sample(mine, 2):
                    versions[stream] = versions.get(stream, 1) + 1
                    n = random.randrange(1000)
                    await connection.execute(statement, f"s{stream}", versions[stream], n)
            seen.appended += 2
            if rest:
                await asyncio.sleep(rest)
    finally:
        await connection.close()


async def sit_idle(url: str, swapping: asyncio.Event) -> None:
    """Reads, and keeps its transaction open, with its lock, until five seconds into the swap."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.fetchval("SELECT count(*) FROM loaded WHERE id = 's1'")
        await swapping.wait()
        await asyncio.sleep(_IDLE_SECONDS)
    await connection.close()


def hold_milliseconds(log: str) -> list[float]:
    """How long each swap that a worker's log tells of locked readers out, in order."""
    return [float(found) for found in _HOLD.findall(log)]


@asynccontextmanager
async def under_load(url: str, rows: int, seen: Seen, rest: float = 0) -> AsyncIterator[None]:
    """Readers and appenders at work until the context ends.

    Args:
        url: The database.
        rows: How many rows, and streams, there are.
        seen: What readers meet with.
        rest: Seconds that each rests after each turn; without, they work flat out.
    """
    tasks = [asyncio.create_task(read(url, n, rows, seen, rest)) for n in range(READERS)]
    tasks += [asyncio.create_task(append(url, n, rows, seen, rest)) for n in range(APPENDERS)]
    try:
        yield
    finally:
        ended = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in ended:
            task.result()


async def prepare(url: str, manager: ProjectionManager, rows: int) -> None:
    """Events, two generations to swap, and a view that only a reader's role may read."""
    connection = await asyncpg.connect(url)
    await connection.execute(_SEED, rows)
    await connection.execute("VACUUM ANALYZE refold.events")
    await manager.rebuild(loaded.name)
    await connection.execute("CREATE VIEW loaded_view AS SELECT id, total FROM loaded")
    await connection.execute(f"CREATE ROLE {ROLE}")
    await connection.execute(f"GRANT SELECT ON loaded_view TO {ROLE}")
    await connection.close()


async def swap_once(manager: ProjectionManager, number: int) -> None:
    """A rebuild, or every second time a rollback."""
    if number % 2:
        await manager.rebuild(loaded.name)
    else:
        await manager.rollback_projection(loaded.name)


async def swap_against_idle_reader(url: str, manager: ProjectionManager, seen: Seen) -> None:
    """A rebuild whose swap finds a reader that holds its lock, for five seconds of trying."""
    swapping = asyncio.Event()
    idle = asyncio.create_task(sit_idle(url, swapping))
    run = await manager.start_rebuild(loaded.name)
    async for progress in manager.watch(run):
        if progress.phase is Phase.SWAPPING:
            swapping.set()
        seen.blocked |= set(progress.waiting_for)
    await manager.result(run)
    await idle


async def differing_rows(url: str) -> int:
    """How many rows are not what their events say, as of the live table's checkpoint."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read"):
            position = await connection.fetchval(
                "SELECT position FROM refold.generations "
                "WHERE projection = 'loaded' AND status = 'active'"
            )
            expected = """
                SELECT stream_id, count(*)::int, sum((data ->> 'n')::int)::int
                FROM refold.events WHERE position <= $1 GROUP BY stream_id
            """
            actual = "SELECT id, count, total FROM loaded"
            return int(
                await connection.fetchval(
                    f"SELECT (SELECT count(*) FROM ({expected} EXCEPT {actual}) AS a) "
                    f"+ (SELECT count(*) FROM ({actual} EXCEPT {expected}) AS b)",
                    position,
                )
            )
    finally:
        await connection.close()


async def measure(stack: Stack, rows: int, swaps: int) -> bool:
    """Runs it all and prints the figures. Returns whether no read went wrong."""
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    await prepare(stack.database_url, manager, rows)
    seen, wrong = Seen(), 0
    async with under_load(stack.database_url, rows, seen):
        await asyncio.sleep(1)
        for number in range(1, swaps + 1):
            began = time.perf_counter()
            if number == 2 * (swaps // 4) + 1:
                await swap_against_idle_reader(stack.database_url, manager, seen)
            else:
                await swap_once(manager, number)
            wrong += await differing_rows(stack.database_url)
            print(f"swap {number}: {time.perf_counter() - began:.1f} s", flush=True)
    log = (stack.data_dir / "worker-1.log").read_text()
    holds = sorted(hold_milliseconds(log)[1:])
    p95 = holds[min(len(holds) - 1, round(0.95 * len(holds)))]
    print(f"{len(seen.times):,} reads, {seen.appended:,} events appended, {swaps} swaps")
    print(f"reads failed or with rows missing:   {len(seen.problems)} {seen.problems[:3]}")
    print(f"rows that are not their events' fold: {wrong}")
    print(
        f"readers locked out: p50 {statistics.median(holds):.1f} ms, p95 {p95:.1f} ms, "
        f"max {holds[-1]:.1f} ms (aim: p95 below 25)"
    )
    print(f"reads: median {seen.median:.1f} ms, longest {seen.longest:.0f} ms (aim: below 250)")
    print(f"the swap waited for: {'; '.join(sorted(seen.blocked)) or 'nobody'}")
    return not seen.problems and not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--swaps", type=int, default=20)
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "bench.loaded"
    with (
        tempfile.TemporaryDirectory(prefix="refold-load-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        right = asyncio.run(measure(stack, arguments.rows, arguments.swaps))
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
