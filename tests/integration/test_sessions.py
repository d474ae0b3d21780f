"""Refold's sessions are its own, whatever the role, the database or the address say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from refold.errors import ConfigurationError
from refold.runtime.database import make_engine, own_transaction, raw
from refold.runtime.reachability import check_reachable
from refold.runtime.sessions import SETTINGS, is_pooled
from refold.runtime.settings import Settings
from refold.stack.postgres import EmbeddedPostgres
from refold.store.migrate import migrate
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database, drop_database, make_database
from tests.support.events import some
from tests.support.poolers import pgbouncer, until_answers
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, run, working, write

# As an administrator may have them: each is something else than Refold's own, or would end it.
ODD = {
    "TimeZone": "Pacific/Kiritimati",
    "DateStyle": "German, DMY",
    "IntervalStyle": "iso_8601",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "xmlbinary": "hex",
    "xmloption": "document",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "gin_fuzzy_search_limit": "1",
    "search_path": "",
    "row_security": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "50ms",
    "lock_timeout": "50ms",
    "idle_in_transaction_session_timeout": "50ms",
    "exit_on_error": "on",
    "idle_session_timeout": "50ms",
    "transaction_timeout": "50ms",
}
_LATER = {"idle_session_timeout": "0", "transaction_timeout": "0"}


async def set_for_database(engine: AsyncEngine, settings: dict[str, str]) -> None:
    async with engine.begin() as connection:
        name = await connection.scalar(text("SELECT current_database()"))
        for setting, value in settings.items():
            shown = f"'{value}'"
            await connection.exec_driver_sql(f"ALTER DATABASE {name} SET {setting} = {shown}")
    await engine.dispose()


@asynccontextmanager
async def address(kind: str, database: Database, directory: Path) -> AsyncIterator[str]:
    """The database's address, or that of a PgBouncer before it."""
    if kind == "direct":
        yield database.url
        return
    with pgbouncer(database.url, directory) as (url, _):
        await until_answers(url)
        yield url


def test_odd_settings_are_all_of_them() -> None:
    assert ODD.keys() == SETTINGS.keys() | _LATER.keys()


# On a busy machine as much passes before a session has been told its settings, and the server ends
# it; a pooler's own statements are cancelled, and sessions end just when it hands them out.
@pytest.mark.parametrize(("kind", "patience"), [("direct", 250), ("pgbouncer", 400)])
async def test_a_session_has_its_own_settings(
    database: Database, tmp_path: Path, kind: str, patience: int
) -> None:
    odd = {name: value.replace("50ms", f"{patience}ms") for name, value in ODD.items()}
    longer = patience / 1000 + 0.05
    sleep = text(f"SELECT pg_sleep({longer})")
    await set_for_database(database.engine, odd)
    async with address(kind, database, tmp_path) as url:
        engine = make_engine(Settings(database_url=url))
        try:
            for number in range(3):
                async with engine.begin() as connection:
                    assert is_pooled(await raw(connection)) is (kind == "pgbouncer")
                    seen = await _seen(connection.exec_driver_sql, list(ODD))
                    assert seen == {name.lower(): v for name, v in {**SETTINGS, **_LATER}.items()}
                    assert await _shown(connection, "transaction_isolation") == "read committed"
                    assert await _shown(connection, "transaction_deferrable") == "off"
                    if not number:
                        await connection.execute(sleep)
                        await asyncio.sleep(longer)
                        await connection.execute(sleep)
                async with engine.connect() as connection, own_transaction(connection) as driver:
                    zone = await driver.fetchval("SELECT current_setting('TimeZone')")
                    assert zone == "UTC"
                    if not number:
                        await driver.execute(f"SELECT pg_sleep({longer})")
                repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
                async with repeatable.connect() as connection:
                    # Before the snapshot is taken.
                    await connection.execute(text("LOCK TABLE refold.runs IN ACCESS SHARE MODE"))
                    assert await _shown(connection, "transaction_isolation") == "repeatable read"
        finally:
            await engine.dispose()


async def _shown(connection: AsyncConnection, setting: str) -> str:
    return str(await connection.scalar(text(f"SHOW {setting}")))


async def _seen(execute: object, names: list[str]) -> dict[str, str]:
    listed = ", ".join(f"'{name.lower()}'" for name in names)
    found = await execute(  # type: ignore[operator]
        "SELECT lower(name), current_setting(name) FROM pg_settings "
        f"WHERE lower(name) IN ({listed})"
    )
    return {row[0]: row[1] for row in found}


@pytest.mark.parametrize("kind", ["direct", "pgbouncer"])
async def test_the_address_says_where_names_are_looked_for_and_how_sessions_are_called(
    database: Database, tmp_path: Path, kind: str
) -> None:
    path = "search_path=%22Public%5C%20Two%22%2C%5C%20app"
    options = f"-c%20{path}%20--work-mem=5MB%20-c%20statement_timeout=1"
    async with address(kind, database, tmp_path) as url:
        engine = make_engine(
            Settings(database_url=f"{url}?options={options}&application_name=shop%20worker")
        )
        try:
            async with engine.begin() as connection:
                seen = await _seen(
                    connection.exec_driver_sql,
                    ["search_path", "work_mem", "statement_timeout", "application_name"],
                )
        finally:
            await engine.dispose()
    assert seen == {
        "search_path": '"Public Two", app',
        "work_mem": "5MB",
        "statement_timeout": "0",
        "application_name": "shop worker",
    }


async def reach(url: str) -> None:
    engine = make_engine(Settings(database_url=url))
    try:
        await check_reachable(engine)
    finally:
        await engine.dispose()


async def test_the_first_host_that_takes_writes_is_taken(database: Database) -> None:
    place, name = database.url.rsplit("/", 1)
    live = place.split("@")[1]
    user = place.split("@")[0]
    for hosts in (f"127.0.0.1:{free_port()},{live}", f"{live},127.0.0.1:{free_port()}"):
        await reach(f"{user}@{hosts}/{name}?connect_timeout=5")
    await reach(f"{user}@/{name}?host=127.0.0.1&port={live.split(':')[1]}&sslmode=prefer")
    await set_for_database(database.engine, {"default_transaction_read_only": "on"})
    with pytest.raises(OSError, match="takes no writes"):
        await reach(database.url)
    with pytest.raises(OSError, match=f"none of {live},{live} takes writes"):
        await reach(f"{user}@{live},{live}/{name}")


SAID: list[tuple[str, str | None]] = [
    ("sslmode=disable", None),
    ("sslmode=allow", None),
    ("sslmode=prefer&channel_binding=prefer&gssencmode=prefer", None),
    ("sslmode=require", "asks for TLS, and the server has none"),
    (
        "sslmode=verify-full&sslrootcert=system",
        "asks for TLS, and the server has none|root certificates",
    ),
    ("sslrootcert=/no/such/file", "sslrootcert: expected a file"),
    ("service=none&passfile=/no/such/file", None),
    ("keepalives_idle=30&keepalives_count=3&tcp_user_timeout=9000&connect_timeout=9", None),
    ("options=-c%20geqo%3Doff%20-c%20no_such%3D1", "parameter options: .*no_such"),
    ("options=-c%20fsync%3Doff", "parameter options: .*fsync"),
    ("target_session_attrs=primary", None),
]


async def test_what_an_address_says_is_heeded_or_refused(
    database: Database, subtests: pytest.Subtests
) -> None:
    for parameters, expected in SAID:
        url = f"{database.url.replace('postgres@', 'postgres:s3cret@')}?{parameters}"
        with subtests.test(parameters):
            if expected is None:
                await reach(url)
                continue
            refusals = (ConfigurationError, OSError, DBAPIError)
            with pytest.raises(refusals, match=expected) as refused:
                await reach(url)
            assert "s3cret" not in str(refused.value)


async def test_a_database_can_be_migrated_whatever_it_sets(template: EmbeddedPostgres) -> None:
    made = await make_database(template)
    try:
        async with made.engine.begin() as connection:
            await connection.exec_driver_sql("DROP SCHEMA refold CASCADE")
        await set_for_database(made.engine, ODD)
        assert await migrate(made.engine) is True
        assert await migrate(made.engine) is False
    finally:
        await drop_database(template, made)


@pytest.mark.usefixtures("counters_built")
async def test_runs_are_alike_whatever_the_database_sets(
    client: Client, database: Database
) -> None:
    projections = [counters(batch_size=20), siblings()[1]]
    await set_for_database(database.engine, ODD)
    async with working(client, database, registry_of(*projections)):
        await run(client, database, "Rebuild", "halves")
        await write(database.engine, some(4))
        chosen = {"criteria": "custom_predicate", "predicate": 'event.data.key == "k003"'}
        await run(client, database, "Backfill", "counters", **chosen, is_atomic=True)
        await run(client, database, "Backfill", "halves", criteria="incremental_update")
        await run(client, database, "Rollback", "counters")
    for projection in projections:
        assert await assert_oracle(database.engine, projection)


async def test_as_many_connections_are_open_as_are_in_use(database: Database) -> None:
    """The look at what is at the address leaves no connection behind."""
    sessions = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted' "
        "AND datname = current_database()"
    )
    engine = make_engine(Settings(database_url=f"{database.url}?application_name=counted"))
    all_of_them = asyncio.Barrier(6)
    counted: list[int] = []

    async def use() -> None:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
            await all_of_them.wait()
            counted.append(await connection.scalar(sessions) or 0)
            await all_of_them.wait()

    try:
        await asyncio.wait_for(asyncio.gather(*(use() for _ in range(6))), 30)
        assert counted == [6] * 6
    finally:
        await engine.dispose()
