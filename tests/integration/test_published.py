"""A publication FOR ALL TABLES: rows go from no table that could not tell which one it was."""

from __future__ import annotations

from sqlalchemy import text
from temporalio.client import Client

from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, run, working, write

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


async def test_every_kind_of_run_ends_where_all_tables_are_published(
    client: Client, database: Database
) -> None:
    projections = [counters(), *siblings()]
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql("CREATE PUBLICATION everything FOR ALL TABLES")
    await write(database.engine, some())
    ending = {"key": "k003", "n": 1}
    chosen = {"criteria": "custom_predicate", "predicate": 'event.data.key == "k003"'}
    async with working(client, database, registry_of(*projections)):
        for projection in projections:
            name = projection.name
            await run(client, database, "Rebuild", name)
            await write(database.engine, [("s3", "Removed", ending), ("s4", "Added", ending)])
            await run(client, database, "Backfill", name, criteria="incremental_update")
            await run(client, database, "Backfill", name, **chosen, create_backup=True)
            await run(client, database, "Backfill", name, **chosen, is_atomic=True)
            await run(client, database, "Backfill", name, criteria="full_rebuild")
            await run(client, database, "Rollback", name)
            await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []
