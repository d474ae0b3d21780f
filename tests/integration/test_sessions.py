"""Refold's sessions are its own, whatever the role, the database or the address say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.database import make_engine, own_transaction, raw
from refold.sessions import SETTINGS, is_pooled
from refold.settings import Settings
from tests.support.databases import Database
from tests.support.poolers import pgbouncer, until_answers

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
    "search_path": "",
    "row_security": "off",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "statement_timeout": "50ms",
    "lock_timeout": "50ms",
    "idle_in_transaction_session_timeout": "50ms",
    "idle_session_timeout": "50ms",
    "transaction_timeout": "50ms",
}
_LATER = {"idle_session_timeout": "0", "transaction_timeout": "0"}
_SLEEP = text("SELECT pg_sleep(0.1)")


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


@pytest.mark.parametrize("kind", ["direct", "pgbouncer"])
async def test_a_session_has_its_own_settings(
    database: Database, tmp_path: Path, kind: str
) -> None:
    await set_for_database(database.engine, ODD)
    async with address(kind, database, tmp_path) as url:
        engine = make_engine(Settings(database_url=url))
        try:
            for _ in range(3):
                async with engine.begin() as connection:
                    assert is_pooled(await raw(connection)) is (kind == "pgbouncer")
                    seen = await _seen(connection.exec_driver_sql, list(ODD))
                    assert seen == {name.lower(): v for name, v in {**SETTINGS, **_LATER}.items()}
                    await connection.execute(_SLEEP)
                    await asyncio.sleep(0.1)
                    await connection.execute(_SLEEP)
                async with engine.connect() as connection, own_transaction(connection) as driver:
                    zone = await driver.fetchval("SELECT current_setting('TimeZone')")
                    assert zone == "UTC"
                    await driver.execute("SELECT pg_sleep(0.1)")
        finally:
            await engine.dispose()


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
    options = "-c%20search_path=app%2C%5C%20public%20--work-mem=5MB%20-c%20statement_timeout=1"
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
        "search_path": "app, public",
        "work_mem": "5MB",
        "statement_timeout": "0",
        "application_name": "shop worker",
    }
