"""A worker that dies, or stands still, while it copies a generation: another one copies it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.projection.registry import Registry
from tests.support.counting import EVENTS_PER_KEY, counted_events, counting
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, run, start, until, working, write

KEYS = 20
EVENTS = KEYS * EVENTS_PER_KEY
KINDS: dict[str, dict[str, Any]] = {"Snapshot": {}, "Rollback": {"to_generation": 2}}


async def copying(database: Database) -> bool:
    """Whether somebody waits in the midst of the copy's transaction."""
    async with database.engine.connect() as connection:
        found = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        return bool(await connection.scalar(found))


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        pytest.param("Snapshot", "frozen", marks=pytest.mark.soak),
        ("Rollback", "killed"),
        pytest.param("Snapshot", "killed", marks=pytest.mark.soak),
        pytest.param("Rollback", "frozen", marks=pytest.mark.soak),
    ],
)
async def test_copy_is_made_by_another_worker(
    client: Client, database: Database, tmp_path: Path, kind: str, how: str
) -> None:
    await write(database.engine, counted_events(KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
        await run(client, database, "Snapshot", "counting")
    async with database.engine.begin() as connection:
        for statement in (
            "CREATE FUNCTION waits() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(60); END $$",
            "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('ALTER TABLE') "
            "EXECUTE FUNCTION waits()",
        ):
            await connection.execute(text(statement))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )
    with worker_processes(environment, tmp_path) as workers:
        first = workers.start()
        request = {"projection": "counting", **KINDS[kind]}
        handle = await start(client, database, kind, request, workflow_id=f"dead/{database.url}")
        await until(lambda: copying(database))
        if how == "killed":
            first.kill()
        else:
            first.stop()
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP EVENT TRIGGER slow"))
        workers.start()
        result = await asyncio.wait_for(handle.result(), 120)
        assert (result.generation, result.position) == (3, EVENTS)
        if how == "frozen":
            first.cont()
            assert await first.terminate() == 0
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT generation, status, position, rows FROM refold.generations ORDER BY 1")
        )
        standing = [tuple(row) for row in found]
    if kind == "Snapshot":
        assert standing[2] == (3, "snapshot", EVENTS, KEYS)
    else:
        assert [row[1] for row in standing] == ["retained", "snapshot", "active"]
    await assert_oracle(database.engine, counting)
    assert await leftovers(database.engine) == []
