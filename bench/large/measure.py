"""One rebuild of what is larger than memory, by a worker process of its own."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.large.cases import Case
from bench.rebuild import seed, vacuum
from refold import BackfillRequest
from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack

LIMIT_MEBIBYTES = 300
PROJECTIONS = "projections,bench.large.read_models"

_NEXT = (
    "SELECT setval(pg_get_serial_sequence('refold.events', 'position'), max(position)) "
    "FROM refold.events"
)


@dataclass(frozen=True)
class Found:
    """What a rebuild came to.

    Attributes:
        events: How many events it had.
        rows: How many rows there are after it.
        seconds: How long it took, from start to result.
        peak: The most memory that the worker had, in mebibytes.
        different: How many rows are not what the statement makes of the events.
    """

    events: int
    rows: int
    seconds: float
    peak: float
    different: int

    @property
    def is_right(self) -> bool:
        """Whether all rows are right, and memory stayed within its limit."""
        return not self.different and self.rows > 0 and self.peak < LIMIT_MEBIBYTES


def measured(case: Case, share: float) -> Found:
    """Rebuilds a share of a case in servers of its own."""
    os.environ["REFOLD_PROJECTIONS"] = PROJECTIONS
    events = int(case.events * share)
    with (
        tempfile.TemporaryDirectory(prefix="refold-bench-") as directory,
        Stack(Path(directory), workers=1, migrate=migrate_url) as stack,
    ):
        return asyncio.run(_measured(case, events, stack))


async def _measured(case: Case, events: int, stack: Stack) -> Found:
    engine = make_engine(Settings(database_url=stack.database_url))
    try:
        return await _rebuilt(case, events, stack, engine)
    finally:
        await engine.dispose()


async def _rebuilt(case: Case, events: int, stack: Stack, engine: AsyncEngine) -> Found:
    if case.seed is None:
        await seed(engine, events)
    else:
        await _append(engine, case.seed, events)
    client = await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)
    manager = ProjectionManager(client, stack.database_url)
    began = time.perf_counter()
    await manager.rebuild(case.projection)
    seconds = time.perf_counter() - began
    if case.more is not None:
        await _append(engine, case.more, events // 10)
        request = BackfillRequest(projection=case.projection, criteria="incremental_update")
        await manager.backfill(case.projection, request)
    if case.in_place:
        await manager.backfill(case.projection, BackfillRequest(projection=case.projection))
    table = case.projection.replace("-", "_")
    peak = _peak_mebibytes(stack.worker_pids[0])
    async with engine.connect() as connection:
        rows = await connection.scalar(text(f"SELECT count(*) FROM {table}"))
        # Hashes, so that large rows are sorted quickly.
        ours, right = (
            f"SELECT md5(f::text) FROM ({one}) AS f" for one in (f"TABLE {table}", case.rows)
        )
        different = await connection.scalar(
            text(
                f"SELECT (SELECT count(*) FROM (({ours}) EXCEPT ({right})) AS a) "
                f"+ (SELECT count(*) FROM (({right}) EXCEPT ({ours})) AS b)"
            )
        )
    return Found(events, rows or 0, seconds, peak, different or 0)


async def _append(engine: AsyncEngine, statement: str, events: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), {"events": events})
        await connection.execute(text(_NEXT))
    await vacuum(engine, "refold.events")


def _peak_mebibytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
