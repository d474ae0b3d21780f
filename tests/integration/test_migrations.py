"""The sum of the migrations is the schema that the code believes in."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from refold.store.migrate import migrate
from refold.store.schema import SCHEMA, metadata
from tests.support.databases import Database
from tests.support.runs import until


def _differences(connection: Connection) -> list[Any]:
    def is_ours(name: str | None, kind: str, parents: Any) -> bool:
        return name == SCHEMA if kind == "schema" else name != "alembic_version"

    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": is_ours,
            "version_table_schema": SCHEMA,
            "compare_server_default": True,
        },
    )
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_the_schema(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []


_HELD = {
    "its lock": "SELECT pg_advisory_lock(6221853)",
    "a table": "LOCK TABLE refold.alembic_version IN ACCESS EXCLUSIVE MODE",
}


@pytest.mark.parametrize("what", _HELD)
async def test_a_migration_says_whom_it_waits_for(
    database: Database,
    what: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("refold.store.migrate._LOOK_SECONDS", 0.05)
    async with database.engine.connect() as holder:
        await holder.exec_driver_sql(_HELD[what])
        pid = await holder.scalar(text("SELECT pg_backend_pid()"))
        migrating = asyncio.create_task(migrate(database.engine))

        async def said() -> bool:
            return f"the migration waits for pid {pid}" in caplog.text

        await until(said, 20)
        assert not migrating.done()
        await holder.invalidate()
    assert await asyncio.wait_for(migrating, 20) is False
