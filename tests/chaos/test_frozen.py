"""A worker that freezes anywhere, its transaction open: another takes over, and nothing is lost.

It takes a minute or two: the polls that a frozen worker has open swallow several attempts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RPCError

from refold.projection.registry import Registry
from refold.store import deliveries, system_events
from tests.support import freezing
from tests.support.counting import EVENTS_PER_KEY, counted_events, counting
from tests.support.databases import Database
from tests.support.live import live, until_status
from tests.support.processes import WorkerProcess, worker_environment, worker_processes
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    leftovers,
    run,
    start,
    until,
    working,
    write,
)

KEYS = 60
EVENTS = KEYS * EVENTS_PER_KEY

# Where a worker freezes: in which run, just after which statement.
PLACES: Mapping[str, tuple[str, str]] = {
    "taking the lease": ("Rebuild", r"INSERT INTO refold\.leases"),
    "recording the run": ("Rebuild", r"INSERT INTO refold\.runs"),
    "planning, its generation made": ("Rebuild", r"INSERT INTO refold\.generations"),
    "planning, its schema made": ("Rebuild", r"CREATE SCHEMA"),
    "planning, its plan written": ("Rebuild", r"UPDATE refold\.runs SET plan"),
    "selecting keys": ("Backfill", r"INTO refold\.selected_keys"),
    "recording that it has begun": ("Rebuild", r"INSERT INTO refold\.system_events "),
    "refolding": ("Rebuild", r"UPDATE refold\.partitions|COPY counting"),
    "following": ("Incremental", r"UPDATE refold\.generations SET position"),
    "counting what was followed": ("Incremental", r"UPDATE refold\.runs SET followed_events"),
    "indexing": ("Rebuild", r"ALTER TABLE \S+ ADD"),
    "verifying": ("Rebuild", r"UPDATE refold\.runs SET diff"),
    "comparing": ("Rebuild", r"FROM refold\.generations .* FOR UPDATE"),
    "reading the new table": ("Rebuild", r"FROM refold_counting_g\d+\.counting"),
    "preparing": ("Rebuild", r"^ANALYZE"),
    "swapping": ("Rebuild", r"SET SCHEMA"),
    "cleaning up": ("Rebuild", r"DELETE FROM refold\.leases"),
    "recording how it ended": ("Rebuild", r"UPDATE refold\.runs SET status"),
    "copying": ("Snapshot", r"INSERT INTO refold_counting_g\d+\.counting"),
    "planning a snapshot": ("Snapshot", r"INSERT INTO refold\.generations"),
    "planning a rollback": ("Rollback", r"UPDATE refold\.runs SET plan"),
}
KINDS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "Rebuild": ("Rebuild", {}),
    "Backfill": ("Backfill", {"last_n": 50, "criteria": "last_n_events"}),
    "Incremental": ("Backfill", {"criteria": "incremental_update"}),
    "Snapshot": ("Snapshot", {}),
    "Rollback": ("Rollback", {}),
}


async def frozen(worker: WorkerProcess) -> None:
    """Waits until a worker stands still."""

    async def stands_still() -> bool:
        assert worker.running, worker.output
        return worker.frozen

    await until(stands_still)


async def standing(database: Database) -> list[tuple[Any, ...]]:
    """What a zombie must not change."""
    async with database.engine.connect() as connection:
        found: list[tuple[Any, ...]] = []
        for table in ("generations", "runs", "leases", "partitions", "selected_keys"):
            rows = await connection.execute(text(f"SELECT t.* FROM refold.{table} t ORDER BY 1, 2"))
            found += [(table, *row) for row in rows]
        return found


async def sessions(database: Database) -> list[Any]:
    """How far deliveries are, and what each session does or waits for."""
    doing = text(
        "SELECT pid, state, wait_event, pg_blocking_pids(pid) AS blocked_by, xact_start, query "
        "FROM pg_stat_activity WHERE datname = current_database()"
    )
    async with database.engine.connect() as connection:
        given = await deliveries.all_delivered(connection)
        return [given, *await connection.execute(doing)]


async def prepared(client: Client, database: Database) -> None:
    """Two generations, and events that are not in them."""
    await write(database.engine, counted_events(KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
        await run(client, database, "Rebuild", "counting")
    await write(database.engine, counted_events(KEYS))


def environment(client: Client, database: Database, directory: Path, place: str) -> dict[str, str]:
    file = directory / "freeze"
    file.write_text(place)
    return worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.freezing",
        FREEZE_FILE=str(file),
        REFOLD_HEARTBEAT_TIMEOUT_SECONDS="1",
    )


@pytest.mark.soak
@pytest.mark.parametrize("place", PLACES)
async def test_a_run_is_taken_over_wherever_its_worker_froze(
    client: Client, database: Database, tmp_path: Path, place: str
) -> None:
    which, pattern = PLACES[place]
    await assert_taken_over(client, database, tmp_path, which, pattern)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12))
async def test_a_run_is_taken_over_after_whatever_statement_its_worker_froze(
    client: Client, database: Database, tmp_path: Path, seed: int
) -> None:
    """Also in the midst of what only reads, and of what looks after other things."""
    chance = random.Random(seed)
    which, number = chance.choice(["Rebuild", "Backfill"]), chance.randrange(20, 400)
    print(f"seed {seed}: {which}, after statement {number}")
    await assert_taken_over(client, database, tmp_path, which, str(number))


async def assert_taken_over(
    client: Client, database: Database, directory: Path, which: str, place: str
) -> None:
    kind, fields = KINDS[which]
    await prepared(client, database)
    with worker_processes(environment(client, database, directory, place), directory) as workers:
        zombie = workers.start()
        handle = await start(
            client,
            database,
            kind,
            {"projection": "counting", **fields},
            workflow_id=f"frozen/{database.url}",
        )
        await frozen(zombie)
        other = workers.start()
        try:
            result = await asyncio.wait_for(handle.result(), 120)
        except TimeoutError:
            raise AssertionError(f"not taken over; the other says:\n{other.output}") from None
        assert result.status in ("completed", "rolled_back")
        before = await standing(database)
        rows = await assert_oracle(database.engine, counting)
        zombie.cont()
        assert await zombie.terminate() == 0
        assert await standing(database) == before
        assert await other.terminate() == 0
    assert await assert_oracle(database.engine, counting) == rows
    assert await leftovers(database.engine) == []


LIVE_PLACES = {
    "following": r"UPDATE refold\.generations SET position",
    "recording that it has begun": r"INSERT INTO refold\.system_event_counters",
    "saving": r"INSERT INTO refold\.system_events ",
}


@pytest.mark.soak
@pytest.mark.parametrize("place", LIVE_PLACES)
async def test_a_live_projection_is_taken_over_wherever_its_worker_froze(
    client: Client, database: Database, tmp_path: Path, place: str
) -> None:
    await prepared(client, database)
    places = environment(client, database, tmp_path, LIVE_PLACES[place])
    with worker_processes(places, tmp_path) as workers:
        zombie = workers.start()
        async with live(client, database, projection="counting") as handle:
            await frozen(zombie)
            other = workers.start()

            async def caught_up() -> bool:
                return await checkpoint(database.engine, counting) == 2 * EVENTS

            await until(caught_up, 120)
            await until_status(handle, "live")
            zombie.cont()
            await write(database.engine, counted_events(KEYS))

            async def goes_on() -> bool:
                return await checkpoint(database.engine, counting) == 3 * EVENTS

            await until(goes_on, 60)
            assert await zombie.terminate() == 0
        assert await other.terminate() == 0
    await assert_oracle(database.engine, counting)


@pytest.mark.soak
@pytest.mark.timeout(900)  # it waits up to 300 s twice
async def test_deliveries_are_taken_over_from_a_frozen_worker(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await write(database.engine, counted_events(KEYS))
    # An earlier test may have left it, on a task queue where nobody works any more.
    with suppress(RPCError):
        given = f"system-events/counting/{freezing.noted.name}"
        await client.get_workflow_handle(given).terminate()
        print(f"ended what was left of {given}")
    places = environment(client, database, tmp_path, r"UPDATE refold\.deliveries SET delivered")
    with worker_processes(places, tmp_path) as workers:
        zombie = workers.start()

        async def placed() -> bool:
            async with database.engine.connect() as connection:
                return bool(await deliveries.all_delivered(connection))

        await until(placed)
        handle = await start(client, database, "Rebuild", {"projection": "counting"})
        await frozen(zombie)
        other = workers.start()
        # It has frozen early in the run, each step of which its polls may swallow.
        await asyncio.wait_for(handle.result(), 300)

        async def all_given() -> bool:
            async with database.engine.connect() as connection:
                known = await deliveries.all_delivered(connection)
                lasts = await system_events.lasts(connection)
            return list(known.values()) == [lasts["counting"]]

        try:
            await until(all_given, 300)
        except TimeoutError:
            now = "\n".join(map(str, await sessions(database)))
            raise AssertionError(f"not given: {now}\nthe other says:\n{other.output}") from None
        zombie.cont()
        assert await zombie.terminate() == 0
        assert await all_given()
        assert await other.terminate() == 0
    await assert_oracle(database.engine, counting)
    assert await leftovers(database.engine) == []
