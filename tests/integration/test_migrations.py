"""The sum of the migrations is the schema that the code believes in."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from refold.store.migrate import _config, migrate
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


async def test_runs_from_before_keep_their_plans_and_get_their_status(database: Database) -> None:
    seen: list[dict[str, Any]] = []
    old = {"plan": {"version": 3, "total_events": 7}, "preview": {"position": 5}}
    asked = "SELECT run_id, status, plan, version FROM refold.runs ORDER BY run_id"

    def there_and_back(connection: Connection) -> None:
        command.downgrade(_config(connection), "0008")
        for run_id, kind in (("one", "Backfill"), ("two", "Rollback")):
            connection.execute(
                text(
                    "INSERT INTO refold.runs "
                    "(run_id, projection, kind, workflow_id, status, request, plan) "
                    "VALUES (:run, 'p', :kind, 'w', 'rolled_back', '{}', CAST(:plan AS jsonb))"
                ),
                {"run": run_id, "kind": kind, "plan": json.dumps(old)},
            )
        for _ in range(2):
            command.upgrade(_config(connection), "head")
            seen.extend(dict(row._mapping) for row in connection.execute(text(asked)))
            command.downgrade(_config(connection), "0008")
            assert connection.scalar(text("SELECT plan FROM refold.runs LIMIT 1")) == old
        command.upgrade(_config(connection), "head")

    async with database.engine.begin() as connection:
        await connection.run_sync(there_and_back)
    plan = {"version": 3, "total_events": 7, "preview": {"position": 5}}
    kept = {"plan": plan, "version": 3}
    assert seen == 2 * [
        {"run_id": "one", "status": "undone", **kept},
        {"run_id": "two", "status": "rolled_back", **kept},
    ]
    async with database.engine.connect() as connection:
        assert await connection.run_sync(_differences) == []
