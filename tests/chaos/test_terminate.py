"""Terminated in any phase: readers keep what they have, the sweeper leaves nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle

from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.soaking import soak


async def in_phase(handle: WorkflowHandle[Any, Any], phase: str) -> None:
    async def reached() -> bool:
        return bool((await handle.query("progress"))["phase"] == phase)

    await until(reached)


@asynccontextmanager
async def held_up(database: Database, statement: str | None) -> AsyncIterator[None]:
    """Holds what the statement locks, so that the run comes no further."""
    async with database.engine.connect() as connection:
        if statement is not None:
            await connection.execute(text(statement))
        yield


ACTIVE_ROW = "SELECT 1 FROM refold.generations WHERE status = 'active' FOR UPDATE"

# The workflow, what it is asked for beside, and what keeps it in that phase; without a lock it has
# much to do there, one event a transaction. The plan waits for the active row, too, so that it is
# locked later.
PHASES: dict[str, tuple[str, dict[str, Any], str | None]] = {
    "refolding": ("Rebuild", {"batch_size": 1}, None),
    "verifying": ("Rebuild", {"batch_size": 1}, ACTIVE_ROW),
    "awaiting approval": ("Rebuild", {"approval": "manual"}, None),
    "swapping": ("Rebuild", {}, "SELECT count(*) FROM counters"),
    "following": ("Rollback", {}, None),
}


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    "phase", ["refolding", *soak(*(phase for phase in PHASES if phase != "refolding"))]
)
async def test_terminated_run_leaves_readers_alone_and_nothing_behind(
    client: Client, database: Database, phase: str
) -> None:
    kind, request, lock = PHASES[phase]
    projection = counters(batch_size=1 if kind == "Rollback" else 500)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        before = await rows_of(database.engine, projection)
        if kind == "Rollback":
            await write(database.engine, some(100, start_at=5))
        async with AsyncExitStack() as held:
            if lock != ACTIVE_ROW:
                await held.enter_async_context(held_up(database, lock))
            handle = await start(client, database, kind, {"projection": "counters", **request})
            if lock == ACTIVE_ROW:
                await in_phase(handle, "refolding")
                await held.enter_async_context(held_up(database, lock))
            await in_phase(handle, phase)
            await handle.terminate("an operator in a hurry")
            await asyncio.sleep(0.2)
        assert await rows_of(database.engine, projection) == before

        async def swept() -> bool:
            await Sweep(database.engine, TemporalExecutions(client)).run_once()
            return await leftovers(database.engine) == []

        await until(swept)
        assert await rows_of(database.engine, projection) == before
        again = await run(client, database, "Rebuild", "counters", batch_size=500)
        assert again.status == "completed"
        await run(client, database, "Rollback", "counters")
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []
