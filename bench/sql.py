"""Rebuild of a projection said in SQL against the limit: the same select as one statement.

All is measured in turn, on the same machine and the same events. The limit is taken twice: into a
table without an index, which is what refolding does, and into one with the read model's indexes.

    make sql                   one million events of 200,000 streams, three times each
    python -m bench.sql --events 10000000
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

from bench import rebuild
from bench.sums import order_sums
from refold import ProjectionManager, RefoldPlugin
from refold.cli.stack import migrate_url
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_QUEUE = "bench-sql"
_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE bench_limit EXCEPT TABLE order_sums) AS a)
     + (SELECT count(*) FROM (TABLE order_sums EXCEPT TABLE bench_limit) AS b)
"""


@dataclass
class Seconds:
    """What each run took."""

    bare: list[float] = field(default_factory=list)
    indexed: list[float] = field(default_factory=list)
    one: list[float] = field(default_factory=list)
    two: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)


async def bare(engine: AsyncEngine) -> float:
    """Seconds for the rows by one statement, into a table without an index."""
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS bench_bare"))
        await connection.execute(text("CREATE TABLE bench_bare (LIKE bench_limit)"))
    began = time.perf_counter()
    async with engine.begin() as connection:
        await connection.execute(text(rebuild.LIMIT.replace("bench_limit", "bench_bare")))
    return time.perf_counter() - began


async def run(manager: ProjectionManager, client: Client, at_once: int) -> tuple[float, float]:
    """Seconds of a rebuild's refolding phase, and of the whole run."""
    began = time.perf_counter()
    started = await manager.start_rebuild(order_sums.name, max_concurrency=at_once)
    await manager.result(started)
    whole = time.perf_counter() - began
    history = await client.get_workflow_handle(started.workflow_id).fetch_history()
    segments: set[int] = set()
    first = last = None
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        completed = event.activity_task_completed_event_attributes
        if scheduled.activity_type.name == "refold_segment":
            segments.add(event.event_id)
            first = first or event.event_time.ToDatetime()
        elif completed.scheduled_event_id in segments:
            last = event.event_time.ToDatetime()
    assert first is not None
    assert last is not None
    return (last - first).total_seconds(), whole


async def measure(stack: Stack, events: int, runs: int) -> None:
    """Measures all in turn, and prints the ratios of the medians."""
    url = stack.database_url
    engine = make_engine(Settings(database_url=url), activities=8)
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    registry = Registry([order_sums])
    settings = Settings(database_url=url, task_queue=_QUEUE)
    plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine, chores=False)
    seconds = Seconds()
    try:
        print(f"seeding {events:,} events of {events // 5:,} streams …", flush=True)
        await rebuild.seed(engine, events)
        async with Worker(client, task_queue=_QUEUE, plugins=[plugin]):
            manager = ProjectionManager(client, url, task_queue=_QUEUE)
            await manager.rebuild(order_sums.name)  # so that there is a live table to compare
            for number in range(1, runs + 1):
                seconds.indexed.append(await rebuild.limit(engine))
                seconds.bare.append(await bare(engine))
                refolding, _ = await run(manager, client, 1)
                seconds.one.append(refolding)
                refolding, whole = await run(manager, client, 2)
                seconds.two.append(refolding)
                seconds.whole.append(whole)
                print(
                    f"run {number}: one statement {seconds.bare[-1]:.2f} s (with indexes "
                    f"{seconds.indexed[-1]:.2f}), refolding one at a time {seconds.one[-1]:.2f}, "
                    f"two at a time {seconds.two[-1]:.2f}, whole run {whole:.2f}",
                    flush=True,
                )
        async with engine.connect() as connection:
            different = await connection.scalar(text(_DIFFERENT))
        _report(seconds, events, different)
    finally:
        await engine.dispose()


def _report(seconds: Seconds, events: int, different: int | None) -> None:
    plain = statistics.median(seconds.bare)
    indexed = statistics.median(seconds.indexed)
    print(f"rows that differ from the one statement's: {different}")
    print(f"one INSERT … SELECT: {plain:.2f} s, {events / plain:,.0f} events/s; with indexes:")
    print(f"{indexed:.2f} s, {events / indexed:,.0f} events/s")
    for name, measured, aim in (
        ("refolding, one partition at a time", seconds.one, "at least 0.85"),
        ("refolding, two at a time", seconds.two, "more than 1.2"),
        ("the whole run, two at a time", seconds.whole, "at least 0.7"),
    ):
        ours = statistics.median(measured)
        print(
            f"{name}: {plain / ours:.2f} of the statement, {indexed / ours:.2f} of the one with "
            f"indexes (aim: {aim})"
        )


def main() -> None:
    """Runs the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--port-base", type=int)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(
            Path(directory), workers=0, port_base=arguments.port_base, migrate=migrate_url
        ) as stack,
    ):
        asyncio.run(measure(stack, arguments.events, arguments.runs))


if __name__ == "__main__":
    main()
