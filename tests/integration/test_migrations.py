"""The sum of the migrations is the schema that the code believes in."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from refold.store.schema import SCHEMA, metadata
from tests.support.databases import Database


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
