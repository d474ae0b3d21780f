"""Two quick projections beside one whose handler is slow, in one worker process.

What is measured is how long rebuilds of the two take, alone and beside each slow one, in turn; and
what becomes of the slow one: it commits, or is named.

    python -m bench.slow_handlers --events 100000
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.rebuild import seed
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

_QUICK = ("order-summary", "customer-summary")
_SLOW = ("slow-50-ms", "slow-60-s", "slow-for-ever")
_BUSY_SECONDS = 2.0
_RUNS = 2


async def both(manager: ProjectionManager) -> float:
    """Seconds for rebuilds of the two quick ones, at the same time."""
    began = time.perf_counter()
    await asyncio.gather(*(manager.rebuild(name) for name in _QUICK))
    return time.perf_counter() - began


async def runs_on(handle: WorkflowHandle[object, object]) -> bool:
    """Whether a run has not ended."""
    return (await handle.describe()).status == WorkflowExecutionStatus.RUNNING


async def ended(handle: WorkflowHandle[object, object]) -> None:
    """Waits for the end of a run, whatever it is, for three minutes."""
    with suppress(TimeoutError, WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 180)


async def fate(engine: AsyncEngine, handle: WorkflowHandle[object, object], name: str) -> str:
    """What has become of the slow one."""
    if await runs_on(handle):
        async with engine.connect() as connection:
            done = await connection.scalar(
                text(
                    "SELECT coalesce(sum(processed_events), 0) FROM refold.partitions p "
                    "JOIN refold.runs r USING (run_id) WHERE r.projection = :name"
                ),
                {"name": name},
            )
        return f"goes on, {done} events are committed"
    try:
        await handle.result()
    except Exception as error:
        return f"has ended: {getattr(error, 'cause', error)}"
    return "has ended well"


def told(seconds: Sequence[float]) -> str:
    """Each of them, in the order in which they were measured."""
    return " ".join(f"{one:.1f}" for one in seconds)


async def measure(stack: Stack, events: int, rounds: int, names: Sequence[str]) -> None:
    engine = make_engine(Settings(database_url=stack.database_url))
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    try:
        await seed(engine, events)
        await both(manager)
        for name in names:
            alone: list[float] = []
            beside: list[float] = []
            for _ in range(rounds):
                alone += [await both(manager) for _ in range(_RUNS)]
                started = await manager.start_rebuild(name)
                handle = client.get_workflow_handle(started.workflow_id)
                await asyncio.sleep(_BUSY_SECONDS)
                for _ in range(_RUNS):
                    seconds = await both(manager)
                    if not await runs_on(handle):
                        break  # that was not beside it
                    beside.append(seconds)
                if name != "slow-50-ms":
                    await ended(handle)
                said = await fate(engine, handle, name)
                if await runs_on(handle):
                    await handle.signal("cancel")
                    await ended(handle)
            if not beside:
                print(f"{name}: it ended before two rebuilds had, of which nothing is told")
                continue
            ratio = statistics.median(beside) / statistics.median(alone)
            print(
                f"{name}: alone {statistics.median(alone):.2f} s, beside it "
                f"{statistics.median(beside):.2f} s, ratio {ratio:.2f} (aim: at most 1.5; "
                f"alone {told(alone)}, beside it {told(beside)}; load {os.getloadavg()[0]:.1f})\n"
                f"  it {said}",
                flush=True,
            )
    finally:
        await manager.close()
        await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=_SLOW, help="beside this one alone")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else _SLOW
    os.environ["REFOLD_PROJECTIONS"] = "projections,bench.slow"
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        asyncio.run(measure(stack, arguments.events, arguments.rounds, names))


if __name__ == "__main__":
    main()
