"""A publication FOR ALL TABLES: rows go from no table that could not tell which one it was."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client

from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, run, working, write
from tests.support.soaking import soak

CHOSEN = {"criteria": "custom_predicate", "predicate": 'event.data.key == "k003"'}

_UNIDENTIFIED = text(
    """
    SELECT c.oid::regclass::text FROM pg_class c
    WHERE c.relnamespace = 'refold'::regnamespace AND c.relkind IN ('r', 'p')
      AND NOT (c.relreplident = 'f' OR c.relreplident = 'd' AND EXISTS (
          SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))
    """
)


async def test_each_of_refolds_own_tables_has_a_key(database: Database) -> None:
    async with database.engine.connect() as connection:
        assert (await connection.execute(_UNIDENTIFIED)).scalars().all() == []


_RUNS: list[tuple[str, dict[str, Any]]] = [
    ("Rebuild", {}),
    ("Backfill", {"criteria": "incremental_update"}),
    ("Backfill", {**CHOSEN, "create_backup": True}),
    ("Backfill", {**CHOSEN, "is_atomic": True}),
    ("Backfill", {"criteria": "full_rebuild"}),
    ("Rollback", {}),
]


@pytest.mark.parametrize("name", ["counters", *soak("streams", "halves")])
async def test_every_kind_of_run_ends_where_all_tables_are_published(
    client: Client, database: Database, name: str
) -> None:
    (projection,) = (one for one in (counters(), *siblings()) if one.name == name)
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE PUBLICATION everything FOR ALL TABLES")
    await write(database.engine, some())
    ending = {"key": "k003", "n": 1}
    async with working(client, database, registry_of(projection)):
        for kind, request in _RUNS:
            await run(client, database, kind, name, **request)
            await write(database.engine, [("s3", "Removed", ending), ("s4", "Added", ending)])
        await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []
