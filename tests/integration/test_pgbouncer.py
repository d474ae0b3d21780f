"""Behind PgBouncer in transaction mode: all works, and sessions are left as they were found."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from refold.errors import ConfigurationError
from refold.requests.limits import Throttle
from refold.runtime.database import make_engine, raw
from refold.runtime.reachability import check_reachable
from refold.runtime.sessions import SETTINGS, is_pooled
from refold.store import generations, schema
from refold.store.migrate import migrate
from refold.store.pressure import Pressure
from refold.store.schema import events
from refold.store.sessions import takeover
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live
from tests.support.poolers import pgbouncer, until_answers
from tests.support.runs import assert_oracle, checkpoint, leftovers, run, until, working, write
from tests.support.soaking import soak


@asynccontextmanager
async def pooled(database: Database, directory: Path, **how: str) -> AsyncIterator[Database]:
    with pgbouncer(database.url, directory, **how) as (url, log):
        await until_answers(url)
        settings = database.settings.model_copy(update={"database_url": url})
        made = dataclasses.replace(
            database, url=url, settings=settings, engine=make_engine(settings, activities=10)
        )
        try:
            yield made
        finally:
            await made.engine.dispose()
            print(log.read_text()[-2000:])


@asynccontextmanager
async def others(database: Database) -> AsyncIterator[set[tuple[str, ...]]]:
    """Other users of the pooler, who mix up which session of the server is whose."""
    seen: set[tuple[str, ...]] = set()

    async def use() -> None:
        connection = await asyncpg.connect(database.url, statement_cache_size=0)
        try:
            while True:
                async with connection.transaction():
                    found = await connection.fetchrow(
                        "SELECT current_setting('TimeZone'), current_setting('search_path'), "
                        "current_setting('statement_timeout')"
                    )
                    assert found is not None
                    seen.add(tuple(found))
                await asyncio.sleep(0.05)
        finally:
            with suppress(OSError):
                await connection.close(timeout=1)

    tasks = [asyncio.create_task(use()) for _ in range(3)]
    try:
        yield seen
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("others_of_it", [1, *soak(2)])
async def test_runs_and_live_projections_work_and_leave_sessions_alone(
    client: Client, database: Database, tmp_path: Path, others_of_it: int
) -> None:
    name = database.url.rsplit("/", 1)[1]
    async with database.engine.begin() as connection:
        for setting in ("timezone = 'Asia/Tokyo'", "statement_timeout = '20s'"):
            await connection.exec_driver_sql(f"ALTER DATABASE {name} SET {setting}")
    projections = [counters(batch_size=20), *siblings()[-others_of_it:]]
    async with pooled(database, tmp_path) as behind, others(behind) as seen:
        assert await migrate(behind.engine) is False
        async with working(client, behind, registry_of(*projections)):
            for projection in projections:
                if projection is not projections[0]:  # it is rebuilt below
                    await run(client, behind, "Backfill", projection.name, batch_size=30)
                await write(behind.engine, some(4))
                chosen = {"criteria": "custom_predicate", "predicate": 'event.data.key == "k003"'}
                await run(client, behind, "Backfill", projection.name, **chosen)
            async with live(client, behind):
                await write(behind.engine, some(40))
                async with database.engine.connect() as connection:
                    highest = await connection.scalar(select(func.max(events.c.position)))

                async def caught_up() -> bool:
                    return bool(await checkpoint(database.engine, projections[0]) == highest)

                await until(caught_up)
            await run(client, behind, "Rebuild", "counters")
            await run(client, behind, "Rollback", "counters")
        for projection in projections:
            assert await assert_oracle(behind.engine, projection)
    assert seen == {("Asia/Tokyo", '"$user", public', "20s")}
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("ignores", ["", "extra_float_digits, search_path", "everything"])
async def test_a_pooler_is_noticed_whatever_it_ignores(
    database: Database, tmp_path: Path, ignores: str
) -> None:
    if ignores == "everything":
        ignores = ", ".join(name.lower() for name in SETTINGS)
    async with (
        pooled(database, tmp_path, ignores=ignores) as behind,
        behind.engine.connect() as connection,
    ):
        assert is_pooled(await raw(connection))
        assert await connection.scalar(text("SHOW TimeZone")) == "UTC"
    async with database.engine.connect() as connection:
        assert not is_pooled(await raw(connection))


async def test_a_pooler_in_another_mode_works_or_is_refused(
    database: Database, tmp_path: Path
) -> None:
    for mode in ("session", "statement"):
        (tmp_path / mode).mkdir()
        async with pooled(database, tmp_path / mode, mode=mode) as behind:
            if mode == "session":
                await check_reachable(behind.engine)
                continue
            with pytest.raises(ConfigurationError, match="set its pool_mode to transaction"):
                await check_reachable(behind.engine)


async def test_who_is_silent_is_ended_behind_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_GRACE_SECONDS", 0.4)
    row = generations.row_of("counters", 1)
    async with pooled(database, tmp_path) as behind:
        async with behind.engine.begin() as connection:
            await generations.create(
                connection,
                "counters",
                version=1,
                status=generations.ACTIVE,
                schema_name="public",
                table_name="counters",
                position=7,
            )
        async with behind.engine.connect() as frozen:
            await generations.hold_position(frozen, "counters", 1)
            await asyncio.wait_for(
                takeover.take_over(behind.engine, schema.generations, row, spares_work=True), 20
            )
            with pytest.raises(DBAPIError):
                await frozen.execute(text("SELECT 1"))


async def test_an_expression_leaves_no_lock_with_the_pooler(
    database: Database, tmp_path: Path
) -> None:
    async with pooled(database, tmp_path) as behind:
        expression = "pg_try_advisory_lock(7) AND set_config('x.y', 'z', false) = 'z'"
        throttle = Throttle(hold_while=expression)
        for _ in range(3):
            assert await Pressure(behind.engine, throttle).reasons()
        async with database.engine.connect() as connection:
            locks = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            assert await connection.scalar(locks) == 0
