"""What automatic snapshots cost a live read model, and what they take.

A read model is followed with and without a snapshot every so many events, in turn, on the same
table and the same machine; the median of the ratios of neighbours is what counts, as machines
differ and are shared. Processor time, of the follower and of its session in PostgreSQL, is told
beside the time that has passed: it depends less on what else the machine does. Then the room of the
snapshots is measured, each is compared with the fold of its events by SQL, and the oldest is
restored.

    make snapshots              20,000 rows
    python -m bench.snapshots --rows 1000000 --events 40000 --rounds 9
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.plain import plain
from refold import Row, Snapshots
from refold.cli.stack import migrate_url
from refold.engine.folding.follower import take
from refold.manager.projections import ProjectionManager
from refold.requests.poison_policy import Poison
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack
from refold.store import generations
from refold.store.snapshots import copies, kept, rebuilt
from refold.store.tables.read_models import quoted

EVERY, KEEP = 1000, 5
_BATCH = 1000

_SEED = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 's' || i, 1, 'Happened', jsonb_build_object('n', i % 1000) FROM generate_series(1, $1) AS i
"""
# Each round has one event for each of so many streams, picked over the whole table.
_MORE = """
INSERT INTO refold.events (stream_id, version, type, data)
SELECT 's' || stream, $3, 'Happened', jsonb_build_object('n', stream % 997)
FROM (SELECT DISTINCT ON (1) 1 + (i::bigint * 7919 + $4) % $1 AS stream
      FROM generate_series(1, $2) AS i) picked ORDER BY md5(stream::text)
"""
_FOLD = """
SELECT stream_id, count(*)::int, sum((data ->> 'n')::int)::int,
       (array_agg((data ->> 'n')::int ORDER BY position DESC))[1],
       'kind ' || (array_agg((data ->> 'n')::int ORDER BY position DESC))[1] % 7
FROM refold.events WHERE position <= {position} GROUP BY stream_id
"""
_ROWS = "SELECT id, count, total, last, kind FROM {table}"
_SIZES = """
SELECT sum(pg_total_relation_size(one))::bigint AS snapshots,
       pg_total_relation_size('plain') AS rows
FROM unnest(ARRAY['refold.snapshot_changes', 'refold.snapshots', 'refold.snapshot_rows']
            ::regclass[]) AS one
"""


def create(row: Row) -> dict[str, Any]:
    """What a snapshot keeps of a row for other versions, with ``--json``."""
    return {"count": row["count"], "total": row["total"], "last": row["last"]}


async def append(driver: asyncpg.Connection[Any], rows: int, events: int, version: int) -> None:
    """Appends the events of one round."""
    shift = random.Random(version).randrange(rows)
    await driver.execute(_MORE, rows, events, version, shift)


@dataclass(frozen=True)
class Took:
    """What a round took, in seconds: passed, and of processors."""

    passed: float
    worked: float


def _worked(pid: int) -> float:
    """Processor seconds of this process and of a local one, where the system tells."""
    stat = Path(f"/proc/{pid}/stat")
    fields = stat.read_text().rpartition(")")[2].split() if stat.exists() else []
    ticks = sum(map(int, fields[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


async def follow(engine: AsyncEngine, policy: Snapshots) -> Took:
    """Follows the live table to the last event."""
    plain.with_snapshots(policy)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        head = await driver.fetchval("SELECT max(position) FROM refold.events")
        await connection.rollback()
        async with connection.begin():
            active = await generations.active(connection, plain.name)
            assert active is not None
            if not policy.by_itself:
                await kept.forget(connection, plain.name, active.generation)
            else:  # those due by what was followed meanwhile are none of the measurement's
                await generations.set_kept(
                    connection,
                    plain.name,
                    active.generation,
                    position=active.position or 0,
                    counted=0,
                )
            follower = await take(connection, plain, active.generation, _BATCH, Poison())
        pid = driver.get_server_pid()
        began, worked = time.perf_counter(), _worked(pid)
        while follower.position < head:
            await follower.commit_batch(connection, head)
        return Took(time.perf_counter() - began, _worked(pid) - worked)


async def differing(engine: AsyncEngine) -> tuple[int, int]:
    """How many snapshots there are, and how many rows of them are not the fold of their events."""
    async with engine.connect() as connection:
        there = await kept.newest_first(connection, plain.name)
    wrong = 0
    for one in there:
        async with engine.connect() as connection:
            await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin() as transaction:
                source = await generations.get(connection, plain.name, one.generation)
                assert source is not None
                copy = await copies.create_copy(connection, plain, run_id="bench")
                await rebuilt.fill(connection, plain, copy, source, one)
                table = quoted(copy.schema_name, copy.table_name)
                wrong += await _differing(connection, _ROWS.format(table=table), one.position)
                await transaction.rollback()
    return len(there), wrong


async def _differing(connection: Any, actual: str, position: int) -> int:
    expected = _FOLD.format(position=position)
    found = await connection.exec_driver_sql(
        f"SELECT (SELECT count(*) FROM ({expected} EXCEPT {actual}) AS a) "
        f"+ (SELECT count(*) FROM ({actual} EXCEPT {expected}) AS b)"
    )
    return int(found.scalar_one())


def tell(times: dict[bool, list[Took]], events: int) -> None:
    """Prints what an event took without and with snapshots, and by how much the second is more."""
    for name, aim in (("passed", " (aim: at most 30)"), ("worked", "")):
        without, with_ = ([getattr(took, name) for took in times[each]] for each in (False, True))
        more = statistics.median(b / a for a, b in zip(without, with_, strict=True)) - 1
        medians = [1e6 * statistics.median(each) / events for each in (without, with_)]
        print(
            f"µs {name} an event: {medians[0]:.0f} without, {medians[1]:.0f} with: "
            f"{100 * more:.0f} % more{aim}"
        )


async def measure(stack: Stack, rows: int, events: int, rounds: int, policy: Snapshots) -> bool:
    """Runs it all and prints the figures. Returns whether every row is right."""
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    engine = make_engine(Settings(database_url=stack.database_url))
    driver = await asyncpg.connect(stack.database_url)
    await driver.execute(_SEED, rows)
    await driver.execute("VACUUM ANALYZE refold.events")
    await manager.rebuild(plain.name)
    times: dict[bool, list[Took]] = {False: [], True: []}
    for number in range(2 * rounds + 2):
        snapshots = bool(number % 2)
        await append(driver, rows, events, number + 2)
        await driver.execute("CHECKPOINT")
        took = await follow(engine, policy if snapshots else Snapshots.none())
        if number >= 2:  # the first of each warms up
            times[snapshots].append(took)
        print(
            f"{'with' if snapshots else 'without'} snapshots: {events / took.passed:,.0f} "
            f"events/s, {1e6 * took.worked / events:,.0f} µs of processors an event",
            flush=True,
        )
    sizes = await driver.fetchrow(_SIZES)
    assert sizes is not None
    print(f"{rows:,} rows, {events:,} events a round, a snapshot every {EVERY:,}, the last {KEEP}")
    tell(times, events)
    print(
        f"room of the snapshots: {sizes['snapshots'] / 1e6:.1f} MB, of the table "
        f"{sizes['rows'] / 1e6:.1f} MB"
    )
    count, wrong = await differing(engine)
    print(f"{count} snapshots, rows in them that are not their events' fold: {wrong}")
    oldest = (await manager.get_snapshots(plain.name))[-1]
    began = time.perf_counter()
    await manager.restore_from_snapshot(plain.name, position=oldest.position)
    print(f"restored position {oldest.position:,} in {time.perf_counter() - began:.1f} s")
    async with engine.connect() as connection:
        position = await manager.get_current_checkpoint(plain.name) or 0
        wrong += await _differing(connection, _ROWS.format(table="plain"), position)
    print(f"rows that are not their events' fold after it: {wrong}")
    await driver.close()
    await engine.dispose()
    return not wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="with create=, for other versions")
    parser.add_argument("--port-base", type=int)
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "bench.plain"
    policy = Snapshots.automatic(EVERY, KEEP, create=create if arguments.json else None)
    with (
        tempfile.TemporaryDirectory(prefix="refold-snapshots-") as directory,
        Stack(
            Path(directory), workers=1, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        right = asyncio.run(
            measure(stack, arguments.rows, arguments.events, arguments.rounds, policy)
        )
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
