"""SIGKILL around the swap: wherever it strikes, one generation is live and its rows are right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from refold.projection.registry import Registry
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, run, start, until, working, write
from tests.support.soaking import soak

KEYS = 20
_SECONDS = 1.5

# What goes on while the worker is killed: the server is made to dwell there. A deferred trigger
# runs within COMMIT: the swap is committed, and nobody is left to hear of it.
_DWELL = f"""
CREATE FUNCTION dwell() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep({_SECONDS}); RETURN NULL; END $$
"""
_DWELL_INSIDE = """
CREATE TRIGGER dwell AFTER UPDATE ON refold.generations FOR EACH ROW
WHEN (NEW.status = 'active' AND OLD.status <> 'active') EXECUTE FUNCTION dwell()
"""
_DWELL_IN_COMMIT = """
CREATE CONSTRAINT TRIGGER dwell AFTER UPDATE ON refold.generations
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (NEW.status = 'active' AND OLD.status <> 'active') EXECUTE FUNCTION dwell()
"""


async def scalar(engine: AsyncEngine, statement: str) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text(statement)) or 0)


async def dwells(engine: AsyncEngine) -> bool:
    statement = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    return await scalar(engine, statement) > 0


async def is_verified(engine: AsyncEngine) -> bool:
    return await scalar(engine, "SELECT count(*) FROM refold.runs WHERE diff IS NOT NULL") > 1


async def is_swapped(engine: AsyncEngine) -> bool:
    statement = "SELECT generation FROM refold.generations WHERE status = 'active'"
    return await scalar(engine, statement) == 2


POINTS: dict[str, tuple[list[str], Callable[[AsyncEngine], Awaitable[bool]]]] = {
    "before": ([], is_verified),
    "inside": ([_DWELL, _DWELL_INSIDE], dwells),
    "in commit": ([_DWELL, _DWELL_IN_COMMIT], dwells),
    "after commit": ([], is_swapped),
}


@pytest.mark.parametrize(
    "point", ["in commit", *soak(*(point for point in POINTS if point != "in commit"))]
)
async def test_one_generation_is_live_wherever_the_worker_dies(
    client: Client, database: Database, tmp_path: Path, point: str
) -> None:
    engine = database.engine
    preparations, reached = POINTS[point]
    await write(engine, counted_events(KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
    async with engine.begin() as connection:
        for statement in preparations:
            await connection.execute(text(statement))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        handle = await start(
            client,
            database,
            "Rebuild",
            {"projection": "counting"},
            workflow_id=f"swap-killed/{database.url}",
        )
        await until(lambda: reached(engine))
        worker.kill()
        if preparations:
            await asyncio.sleep(_SECONDS)
            # Inside, all is rolled back; in COMMIT, the swap stands though nobody knows.
            assert await is_swapped(engine) is (point == "in commit")
            async with engine.begin() as connection:
                await connection.execute(text("DROP FUNCTION dwell CASCADE"))
        await write(engine, counted_events(KEYS))
        workers.start()
        result = await asyncio.wait_for(handle.result(), 150)
    assert (result.status, result.generation) == ("completed", 2)
    active = "SELECT count(*) FROM refold.generations WHERE status = 'active'"
    assert await scalar(engine, active) == 1
    assert len(await assert_oracle(engine, counting)) == KEYS
    assert await leftovers(engine) == []
