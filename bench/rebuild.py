"""Rebuild against the limit: what PostgreSQL needs for the same rows in one statement.

Both run several times in turn on the same machine and the same million events; the ratio of the
medians is what counts, as machines differ and are shared.

    make bench                 one million events of 200,000 streams, three times each
    python -m bench.rebuild --events 100000 --runs 1
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_PER_STREAM = 5

# Five events a stream, all streams interleaved: an order, three items, one return.
_SEED = """
INSERT INTO refold.events (stream_id, version, type, data, metadata, recorded_at)
SELECT 'invoice-' || lpad((i % :streams)::text, 7, '0'), i / :streams + 1,
       (ARRAY['OrderPlaced', 'ItemAdded', 'ItemAdded', 'ItemAdded', 'ItemReturned'])
           [i / :streams + 1],
       CASE WHEN i < :streams
            THEN jsonb_build_object('customer_id', c.id, 'country', 'United Kingdom')
            ELSE jsonb_build_object('sku', 'S' || i % 1000, 'description', 'An article of the shop',
                 'quantity', 1 + i % 12, 'unit_price', round((i % 997) / 100.0, 2)::text) END,
       jsonb_build_object('customer_id', c.id, 'country', 'United Kingdom',
                          'correlation_id', i % :streams),
       timestamptz '2026-01-01' + i * interval '1 second'
FROM generate_series(0, :events - 1) AS i, LATERAL (SELECT (10000 + i % 5000)::text AS id) AS c
"""

# The read model order-summary, in SQL.
LIMIT = """
INSERT INTO bench_limit
SELECT stream_id, (array_agg(metadata ->> 'customer_id' ORDER BY position))[1],
       coalesce(sum((data ->> 'quantity')::int) FILTER (WHERE type = 'ItemAdded'), 0),
       coalesce(sum((data ->> 'quantity')::int * (data ->> 'unit_price')::numeric)
                FILTER (WHERE type = 'ItemAdded'), 0),
       coalesce(sum((data ->> 'quantity')::int * (data ->> 'unit_price')::numeric)
                FILTER (WHERE type = 'ItemReturned'), 0),
       CASE WHEN (array_agg(type ORDER BY position))[1] IN ('OrderPlaced', 'ItemAdded')
            THEN 'placed' ELSE 'credited' END
FROM refold.events
WHERE type IN ('OrderPlaced', 'ItemAdded', 'ItemReturned', 'CreditNoteIssued')
GROUP BY stream_id
"""

_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE bench_limit EXCEPT TABLE order_summary) AS a)
     + (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE bench_limit) AS b)
"""


async def seed(engine: AsyncEngine, events: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(_SEED), {"events": events, "streams": events // _PER_STREAM})
    await vacuum(engine, "refold.events")


async def vacuum(engine: AsyncEngine, table: str) -> None:
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.execute(text(f"VACUUM ANALYZE {table}"))
        await connection.execute(text("CHECKPOINT"))


async def limit(engine: AsyncEngine) -> float:
    """Seconds for the rows by one statement, into an empty table with the read model's indexes."""
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS bench_limit"))
        await connection.execute(
            text(
                "CREATE TABLE bench_limit (order_id text PRIMARY KEY, customer_id text, "
                "items int NOT NULL, total numeric(14,2) NOT NULL, "
                "returned numeric(14,2) NOT NULL, status text NOT NULL)"
            )
        )
        await connection.execute(text("CREATE INDEX ON bench_limit (customer_id)"))
    began = time.perf_counter()
    async with engine.begin() as connection:
        await connection.execute(text(LIMIT))
    return time.perf_counter() - began


async def rebuild(manager: ProjectionManager) -> float:
    """Seconds for a rebuild through the real workflow, from start to result."""
    began = time.perf_counter()
    await manager.rebuild("order-summary")
    return time.perf_counter() - began


def peak_mebibytes(pid: int) -> float:
    """The highest resident memory a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


async def measure(stack: Stack, events: int, runs: int) -> None:
    engine = make_engine(Settings(database_url=stack.database_url))
    try:
        print(f"seeding {events:,} events of {events // _PER_STREAM:,} streams …", flush=True)
        await seed(engine, events)
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        manager = ProjectionManager(client, stack.database_url)
        limits, rebuilds = [], []
        for run in range(1, runs + 1):
            limits.append(await limit(engine))
            rebuilds.append(await rebuild(manager))
            print(
                f"run {run}: one statement {limits[-1]:.2f} s, rebuild {rebuilds[-1]:.2f} s, "
                f"ratio {limits[-1] / rebuilds[-1]:.2f}",
                flush=True,
            )
        async with engine.connect() as connection:
            different = await connection.scalar(text(_DIFFERENT))
        fastest, ours = statistics.median(limits), statistics.median(rebuilds)
        print(f"rows that differ between the two: {different}")
        print(f"one INSERT … SELECT … GROUP BY: {fastest:.2f} s, {events / fastest:,.0f} events/s")
        print(f"Rebuild, one worker process:    {ours:.2f} s, {events / ours:,.0f} events/s")
        print(f"ratio of the medians:           {fastest / ours:.3f} (aim: at least 0.25)")
        peak = peak_mebibytes(stack.worker_pids[0])
        print(f"peak memory of the worker:      {peak:.0f} MiB (aim: below 300)")
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        asyncio.run(measure(stack, arguments.events, arguments.runs))


if __name__ == "__main__":
    main()
