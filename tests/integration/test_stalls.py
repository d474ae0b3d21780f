"""A frozen worker's session holds nobody up for long, wherever it was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from refold.runtime.database import make_engine
from refold.worker.chores import stalls
from refold.worker.chores.stalls import Stalls
from tests.support.databases import Database
from tests.support.runs import until


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has said nothing for half a second is silent."""
    monkeypatch.setattr(stalls, "_GRACE_SECONDS", 0.5)


@asynccontextmanager
async def session(
    database: Database, name: str = "refold", **changes: Any
) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A session, as a worker's or somebody's else."""
    url = make_url(database.url).set(**changes).render_as_string(hide_password=False)
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close(timeout=2)


async def waits(database: Database, waiter: asyncpg.Connection[Any]) -> None:
    """Until the session waits for a lock."""
    pid = waiter.get_server_pid()

    async def waiting() -> bool:
        async with session(database, "looking") as looker:
            return bool(await looker.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid))

    await until(waiting)


LEASE = (
    "INSERT INTO refold.leases (projection, run_id, workflow_id, namespace) "
    "VALUES ('p', 'r', 'w', 'n') ON CONFLICT DO NOTHING"
)
RUN = (
    "INSERT INTO refold.runs (run_id, projection, kind, workflow_id, request) "
    "VALUES ('r', 'p', 'Rebuild', 'w', '{}') ON CONFLICT DO NOTHING"
)
GENERATION = (
    "INSERT INTO refold.generations (projection, generation, version, status, schema_name, "
    "table_name, position, run_id) VALUES ('p', 1, 1, 'building', 's', 't', 0, 'r') "
    "ON CONFLICT DO NOTHING"
)

# What is there, what the frozen worker has done, and what another one is about to do.
STALLS: dict[str, tuple[list[str], list[str], str]] = {
    "a lease not yet there": ([], [LEASE], LEASE),
    "a run not yet there": ([], [RUN], RUN),
    "a generation not yet there": ([], [GENERATION], GENERATION),
    "a schema not yet there": ([], [GENERATION, "CREATE SCHEMA mine"], "CREATE SCHEMA mine"),
    "a run's row that is shared": (
        [RUN],
        ["SELECT 1 FROM refold.runs FOR SHARE"],
        "UPDATE refold.runs SET followed_events = 1",
    ),
    "a lease's row": (
        [LEASE],
        ["UPDATE refold.leases SET run_id = 'x'"],
        "DELETE FROM refold.leases",
    ),
    "a table that is swapped": (
        ["CREATE TABLE mine (n int)", GENERATION],
        ["UPDATE refold.generations SET position = 1", "LOCK TABLE mine"],
        "ALTER TABLE mine ADD m int",
    ),
    "a table that is built, which is read": (
        [GENERATION, "CREATE SCHEMA s", "CREATE TABLE s.t (n int)"],
        ["SELECT * FROM s.t"],
        "ALTER TABLE s.t ADD m int",
    ),
    "an event's number": (
        ["INSERT INTO refold.system_event_counters VALUES ('p', 1)"],
        ["UPDATE refold.system_event_counters SET last = 2"],
        "UPDATE refold.system_event_counters SET last = 3",
    ),
}


@pytest.mark.parametrize("what", STALLS)
async def test_a_frozen_workers_session_is_ended(database: Database, what: str) -> None:
    there, done, wanted = STALLS[what]
    watch = Stalls(database.engine)
    async with session(database) as frozen, session(database) as other:
        for statement in there:
            await other.execute(statement)
        await frozen.execute("BEGIN")
        for statement in done:
            await frozen.execute(statement)
        waiting = asyncio.create_task(other.execute(wanted))
        await waits(database, other)
        ended: list[str] = []

        async def is_ended() -> bool:
            ended.extend((await watch.run_once()).done)
            return bool(ended)

        await until(is_ended, 10)
        assert ended == [f"pid {frozen.get_server_pid()}"]
        await asyncio.wait_for(waiting, 10)
        with pytest.raises(
            (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
        ):
            await frozen.execute("COMMIT")


async def test_others_are_left_alone(database: Database) -> None:
    """An operator's session, an application's, and a worker that is at work or in nobody's way."""
    watch = Stalls(database.engine)
    async with (
        session(database, "psql") as operator,
        session(database) as silent,
        session(database) as busy,
        session(database) as other,
        session(database) as another,
        session(database, "shop") as shop,
    ):
        for statement in (LEASE, RUN, GENERATION):
            await other.execute(statement)
        await operator.execute("BEGIN; UPDATE refold.leases SET run_id = 'x'")
        await shop.execute(
            "BEGIN; INSERT INTO refold.events (stream_id, version, type, data) "
            "VALUES ('s', 1, 't', '{}')"
        )
        await silent.execute("BEGIN; UPDATE refold.generations SET position = 1")
        await busy.execute("BEGIN; UPDATE refold.runs SET followed_events = 1")
        working = asyncio.create_task(busy.execute("SELECT pg_sleep(2)"))
        waiting = [
            asyncio.create_task(other.execute("DELETE FROM refold.leases")),
            asyncio.create_task(another.execute("UPDATE refold.runs SET followed_events = 2")),
        ]
        await waits(database, other)
        await waits(database, another)
        await asyncio.sleep(0.6)  # all are silent for longer than anybody has patience
        assert (await watch.run_once()).done == []
        await working
        for one in (busy, operator, silent, shop):
            await one.execute("COMMIT")
        await asyncio.gather(*waiting)


async def test_the_right_that_is_missing_is_named(database: Database) -> None:
    """Once it is granted, the session is ended."""
    async with session(database, "owner") as owner:
        name = f"stopped_{owner.get_server_pid()}"
        mine = f"{name}_other"
        for role in (name, mine):
            await owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
            await owner.execute(f"GRANT USAGE ON SCHEMA refold TO {role}")
            await owner.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA refold TO {role}")
    url = make_url(database.url).set(username=mine, password="x")
    settings = database.settings.model_copy(
        update={"database_url": url.render_as_string(hide_password=False)}
    )
    engine = make_engine(settings, activities=2)
    watch = Stalls(engine)
    try:
        async with (
            session(database, username=name, password="x") as frozen,
            session(database, username=mine, password="x") as other,
            session(database, "owner") as owner,
        ):
            await frozen.execute("BEGIN")
            await frozen.execute(LEASE)
            waiting = asyncio.create_task(other.execute(LEASE))
            await waits(database, other)
            (trouble,) = (await watch.run_once()).troubles
            assert f"pid {frozen.get_server_pid()}, role '{name}'" in trouble.reason
            grant = f"GRANT pg_signal_backend, pg_read_all_stats TO {mine}"
            assert grant in trouble.reason
            await owner.execute(grant)

            async def is_ended() -> bool:
                return bool((await watch.run_once()).done)

            await until(is_ended, 10)
            await asyncio.wait_for(waiting, 10)
    finally:
        await engine.dispose()
        async with session(database, "owner") as owner:
            for role in (name, mine):
                await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
