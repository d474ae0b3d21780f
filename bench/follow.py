"""Following from zero, beside a hand-written loop that makes the same rows.

The hand-written loop is what one would write with the driver: it reads 10,000 events, then the rows
of their keys, applies the events, upserts the rows with `executemany`, and moves a checkpoint, in
one transaction. Both run in turn on the same machine and the same events, on a table with no index
but its key and on one with five. The ratio of the medians is what counts, as machines differ and
are shared. Processor time, of this process and of its sessions in PostgreSQL, is told beside the
time that has passed: it depends less on what else the machine does.

    make follow                 200,000 events of 40,000 streams, three times each
    python -m bench.follow --events 1000000 --runs 5
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.followed import indexed, keyed
from bench.measuring.figures import Figure, Part, against, arguments_of, told
from refold.cli.stack import migrate_url
from refold.engine.folding.follower import take
from refold.engine.strides.ahead import reading_ahead
from refold.engine.strides.stride import strides_of
from refold.manager.projections import ProjectionManager
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import followed_at_once
from refold.requests.poison_policy import Poison
from refold.runtime.database import make_engine
from refold.runtime.garbage import calm_garbage_collector
from refold.runtime.settings import Settings
from refold.stack.stack import Stack
from refold.store import generations

_PER_STREAM = 5
_BY_HAND = 10_000

# All streams interleaved: an event is far from the others of its stream.
_SEED = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 'stream-' || lpad((i % $2)::text, 7, '0'), i / $2 + 1, 'Happened',
       jsonb_build_object('n', i % 1000, 'note', 'What somebody has said of it')
FROM generate_series(0, $1 - 1) AS i
"""
_AT_ZERO = "UPDATE refold.generations SET position = 0 WHERE projection = $1 AND status = 'active'"
_EVENTS = """
SELECT position, stream_id, data FROM refold.events
WHERE position > $1 AND type = 'Happened' ORDER BY position LIMIT $2
"""
_ROWS = "SELECT id, count, total FROM {table} WHERE id = ANY($1)"
_UPSERT = """
INSERT INTO {table} (id, count, total, last, kind) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET count = excluded.count, total = excluded.total,
    last = excluded.last, kind = excluded.kind
"""
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE {one} EXCEPT TABLE {other}) AS a)
     + (SELECT count(*) FROM (TABLE {other} EXCEPT TABLE {one}) AS b)
"""


@dataclass(frozen=True)
class Took:
    """What a run took, in seconds: passed, of this process, and of its sessions in PostgreSQL."""

    passed: float
    here: float
    there: float


class Clock:
    """Measures from when it is made.

    Args:
        pid: One of PostgreSQL's processes: it and those beside it are measured.
    """

    def __init__(self, pid: int) -> None:
        self._parent = _stat(pid)[1]
        self._began = time.perf_counter(), time.process_time()
        self._there = self._processes()

    def _processes(self) -> dict[str, float]:
        """The seconds of each of PostgreSQL's processes."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                fields = _stat(path.name)
                if fields[1] == self._parent:
                    ticks = sum(map(int, fields[11:13]))
                    found[path.name] = ticks / os.sysconf("SC_CLK_TCK")
        return found

    def took(self) -> Took:
        passed, here = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        now = self._processes()
        there = sum(seconds - self._there.get(pid, 0) for pid, seconds in now.items())
        return Took(passed, here, there)


def _stat(pid: int | str) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


async def empty(driver: asyncpg.Connection[Any], table: str) -> None:
    await driver.execute(f"TRUNCATE {table}")
    await driver.execute("CHECKPOINT")


async def follow(engine: AsyncEngine, projection: Projection, head: int) -> Took:
    """Follows the live table from zero to the head, as its live activity does."""
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        async with connection.begin():
            active = await generations.active(connection, projection.name)
            assert active is not None
            size = followed_at_once(projection)
            follower = await take(connection, projection, active.generation, size, Poison())
        async with reading_ahead(engine) as ahead:
            follower.strides = strides_of(follower, ahead)
            clock = Clock(driver.get_server_pid())
            while follower.position < head:
                await follower.commit_batch(connection, head)
            return clock.took()


async def by_hand(driver: asyncpg.Connection[Any], table: str, head: int) -> Took:
    """The same rows by a loop of one's own."""
    clock = Clock(driver.get_server_pid())
    position = 0
    while position < head:
        async with driver.transaction():
            events = await driver.fetch(_EVENTS, position, _BY_HAND)
            keys = list({event["stream_id"] for event in events})
            found = await driver.fetch(_ROWS.format(table=table), keys)
            rows = {row["id"]: dict(row) for row in found}
            for event in events:
                row = rows.setdefault(event["stream_id"], {"count": 0, "total": 0})
                n = json.loads(event["data"])["n"]
                row["count"] += 1
                row["total"] += n
                row["last"] = n
                row["kind"] = f"kind {n % 7}"
            records = [
                (key, row["count"], row["total"], row["last"], row["kind"])
                for key, row in rows.items()
            ]
            await driver.executemany(_UPSERT.format(table=table), records)
            position = events[-1]["position"]
            await driver.execute("UPDATE by_hand SET position = $1", position)
    return clock.took()


def figures_of(name: str, took: list[Took], events: int) -> list[Figure]:
    """What runs took: the time that has passed, and processor time for each event."""

    def each(name: str, says: str, values: list[float]) -> Figure:
        per_event = [1e6 * seconds / events for seconds in values]
        return Figure(name=name, says=says, unit="µs an event", values=per_event)

    passed = [one.passed for one in took]
    return [
        Figure(name=name, says=f"{name}, from zero", values=passed, events=events),
        each(f"{name}-here", f"{name}, Python's processor", [one.here for one in took]),
        each(f"{name}-there", f"{name}, PostgreSQL's processor", [one.there for one in took]),
    ]


async def measure(stack: Stack, events: int, runs: int) -> Part:
    """Measures all in turn, so many times."""
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    engine = make_engine(Settings(database_url=stack.database_url))
    driver = await asyncpg.connect(stack.database_url)
    await driver.execute("CREATE TABLE by_hand AS SELECT 0::bigint AS position")
    for projection in (keyed, indexed):
        await manager.rebuild(projection.name)
        name = projection.name
        await driver.execute(f"CREATE TABLE {name}_by_hand (LIKE {name} INCLUDING ALL)")
    await driver.execute(_SEED, events, events // _PER_STREAM)
    await driver.execute("VACUUM ANALYZE refold.events")
    head = await driver.fetchval("SELECT max(position) FROM refold.events")
    figures: list[Figure] = []
    differing = 0
    for projection, at_least in ((keyed, 2.0), (indexed, None)):
        ours: list[Took] = []
        theirs: list[Took] = []
        name, other = projection.name, f"{projection.name}_by_hand"
        for number in range(1, runs + 1):
            await empty(driver, other)
            theirs.append(await by_hand(driver, other, head))
            await empty(driver, name)
            await driver.execute(_AT_ZERO, name)
            ours.append(await follow(engine, projection, head))
            differing += await driver.fetchval(_DIFFERENT.format(one=name, other=other))
            print(
                f"run {number}, {name}: by hand {theirs[-1].passed:.2f} s, "
                f"following {ours[-1].passed:.2f} s",
                flush=True,
            )
        hand, *spent_by_hand = figures_of(f"{name}-by-hand", theirs, events)
        own, *spent = figures_of(f"{name}-follow", ours, events)
        own = against(own, hand, at_least=at_least)
        figures += [hand, own, *spent_by_hand, *spent]
    await driver.close()
    await engine.dispose()
    return Part(name="follow", events=events, figures=figures, differing_rows=differing)


def main() -> None:
    """Runs the bench; exits with 1 when rows differ."""
    arguments = arguments_of(__doc__, events=200_000).parse_args()
    calm_garbage_collector()  # as in a worker
    os.environ["REFOLD_PROJECTIONS"] = "bench.followed"
    with (
        tempfile.TemporaryDirectory(prefix="refold-follow-") as directory,
        Stack(
            Path(directory), workers=1, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        part = asyncio.run(measure(stack, arguments.events, arguments.runs))
    raise SystemExit(0 if told(part, arguments.json) else 1)


if __name__ == "__main__":
    main()
