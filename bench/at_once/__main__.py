"""Worker's CPU an event: handlers of single events against one function for a key's events.

Both are the read model order-summary, rebuilt in turn from the same events by one worker process,
whose processor time is counted: what else the machine does hardly matters.

    make folds                 one million events of 200,000 streams, three times each
    python -m bench.at_once --events 200000 --runs 1
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from pathlib import Path

import psutil
from sqlalchemy import text
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.rebuild import seed
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_DIFFERENT = """
SELECT (SELECT count(*) FROM (TABLE order_summary EXCEPT TABLE orders_at_once) AS a)
     + (SELECT count(*) FROM (TABLE orders_at_once EXCEPT TABLE order_summary) AS b)
"""


def processor_seconds(pid: int) -> float:
    """What a process has taken of the processors so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def measure(stack: Stack, events: int, runs: int) -> bool:
    engine = make_engine(Settings(database_url=stack.database_url))
    (worker,) = stack.worker_pids
    try:
        print(f"seeding {events:,} events of {events // 5:,} streams …", flush=True)
        await seed(engine, events)
        client = await Client.connect(
            stack.temporal_address, data_converter=pydantic_data_converter
        )
        manager = ProjectionManager(client, stack.database_url)
        taken: dict[str, list[float]] = {"order-summary": [], "orders-at-once": []}
        for run in range(runs + 1):
            for name, found in taken.items():
                before = processor_seconds(worker)
                await manager.rebuild(name)
                found.append(1e6 * (processor_seconds(worker) - before) / events)
            said = ", ".join(f"{name} {found[-1]:.2f} µs" for name, found in taken.items())
            print(f"run {run or '(not counted)'}: {said}", flush=True)
        async with engine.connect() as connection:
            different = await connection.scalar(text(_DIFFERENT))
        one, many = (statistics.median(found[1:]) for found in taken.values())
        print(f"rows that differ:             {different}")
        print(f"handlers of single events:    {one:.2f} µs of the worker's CPU an event")
        print(f"one function for many events: {many:.2f} µs, {many / one:.2f} of it")
        return not different
    finally:
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["REFOLD_PROJECTIONS"] = "projections,bench.at_once.read_model"
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        right = asyncio.run(measure(stack, arguments.events, arguments.runs))
    raise SystemExit(0 if right else 1)


if __name__ == "__main__":
    main()
