"""Whatever is done to a live table by hand between a preparation and its swap counts in the swap.

One read model is swapped again and again, there and back. Before each swap, when the table that is
to go live has been made as the live one is, one statement changes something about the live table:
afterwards the catalogue must say of the live table what that statement made it say.
"""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.runtime.database import raw
from refold.store import generations
from refold.store.generations import ACTIVE, BUILDING, Generation
from refold.store.swap.attached import fingerprint_statement
from refold.store.swap.swap import Swap, carry_out, lock, plan_swap, prepare
from tests.integration.test_attached import role, table_of
from tests.support.attachments import FUNCTION
from tests.support.catalogue import snapshot
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.soaking import mostly_soak

__all__ = ["role"]

T = "ALTER TABLE counters "

# Each line builds upon those before. {role} is a role, {space} a tablespace.
STORIES: dict[str, list[str]] = {
    "index": [
        "CREATE INDEX mine ON counters (lower(key))",
        "ALTER INDEX mine SET (fillfactor = 50)",
        "ALTER INDEX mine ALTER COLUMN 1 SET STATISTICS 300",
        "COMMENT ON INDEX mine IS 'for reports'",
        'ALTER INDEX mine RENAME TO "Of others"',
        'COMMENT ON INDEX "Of others" IS NULL',
        'DROP INDEX "Of others"; CREATE INDEX "Of others" ON counters (last) INCLUDE (sum) '
        "WHERE sum > 0",
        'DROP INDEX "Of others"',
        "CREATE UNIQUE INDEX mine ON counters (key, count) NULLS NOT DISTINCT",
        T + "REPLICA IDENTITY USING INDEX mine",
        T + "CLUSTER ON mine",
        T + "SET WITHOUT CLUSTER",
        T + "REPLICA IDENTITY FULL",
        T + "REPLICA IDENTITY DEFAULT",
        "DROP INDEX mine",
    ],
    "declared index": [
        "DROP INDEX counters_sum",
        "CREATE INDEX counters_sum ON counters (sum DESC)",
        "ALTER INDEX counters_sum RENAME TO another",
        "ALTER INDEX another RENAME TO counters_sum",
        "DROP INDEX counters_sum; CREATE INDEX counters_sum ON counters (sum)",
        T + "RENAME CONSTRAINT counters_pkey TO by_hand",
        "ALTER INDEX by_hand SET (fillfactor = 60)",
        "ALTER INDEX by_hand RESET (fillfactor)",
        T + "RENAME CONSTRAINT by_hand TO counters_pkey",
    ],
    "constraint": [
        T + "ADD CONSTRAINT positive CHECK (count > 0)",
        T + "RENAME CONSTRAINT positive TO above",
        "COMMENT ON CONSTRAINT above ON counters IS 'none'",
        T + "DROP CONSTRAINT above, ADD CONSTRAINT above CHECK (count >= 0) NOT VALID",
        T + "VALIDATE CONSTRAINT above",
        T + "DROP CONSTRAINT above",
        T + "ADD CONSTRAINT inherited CHECK (sum >= 0) NO INHERIT",
        T + "DROP CONSTRAINT inherited",
        T + "ADD CONSTRAINT once UNIQUE (key, last) DEFERRABLE",
        T + "DROP CONSTRAINT once, ADD CONSTRAINT once UNIQUE NULLS NOT DISTINCT (last, key)",
        T + "DROP CONSTRAINT once",
        T + "ADD CONSTRAINT apart EXCLUDE USING btree (key WITH =)",
        T + "DROP CONSTRAINT apart",
    ],
    "foreign key": [
        "CREATE TABLE keys (key text PRIMARY KEY); INSERT INTO keys VALUES ('a'); "
        + T
        + "ADD CONSTRAINT known FOREIGN KEY (key) REFERENCES keys NOT VALID",
        T + "VALIDATE CONSTRAINT known",
        T + "ALTER CONSTRAINT known DEFERRABLE INITIALLY DEFERRED",
        T + "ADD CONSTRAINT itself FOREIGN KEY (key) REFERENCES counters ON DELETE CASCADE",
        T + "DROP CONSTRAINT known",
        T + "DROP CONSTRAINT itself",
    ],
    "not null": [
        T + "ALTER last SET NOT NULL",
        T + "ALTER last DROP NOT NULL",
        T + "ADD CONSTRAINT must NOT NULL last NO INHERIT",
        T + "DROP CONSTRAINT must",
        T + "ALTER count DROP NOT NULL",
        T + "ALTER count SET NOT NULL",
    ],
    "column": [
        T + "ALTER last SET DEFAULT 7",
        T + "ALTER last SET DEFAULT 8",
        T + "ALTER last DROP DEFAULT",
        T + "ALTER key SET STATISTICS 5",
        T + "ALTER key SET STATISTICS -1",
        T + "ALTER key SET STORAGE EXTERNAL",
        T + "ALTER key SET STORAGE EXTENDED",
        T + "ALTER key SET COMPRESSION pglz",
        T + "ALTER key SET COMPRESSION default",
        T + "ALTER sum SET (n_distinct = 5, n_distinct_inherited = 6)",
        T + "ALTER sum RESET (n_distinct)",
        T + "ALTER sum RESET (n_distinct_inherited)",
        "COMMENT ON COLUMN counters.sum IS 'in euros'",
        "COMMENT ON COLUMN counters.sum IS NULL",
    ],
    "table": [
        T + "SET (fillfactor = 70, toast.autovacuum_enabled = false)",
        T + "SET (fillfactor = 80)",
        T + "RESET (fillfactor)",
        T + "RESET (toast.autovacuum_enabled)",
        "COMMENT ON TABLE counters IS 'what''s counted: 100 %'",
        "COMMENT ON TABLE counters IS NULL",
        T + "SET TABLESPACE {space}",
        "ALTER INDEX counters_sum SET TABLESPACE {space}",
        "ALTER INDEX counters_pkey SET TABLESPACE {space}",
        T + "SET TABLESPACE pg_default",
        "ALTER INDEX counters_sum SET TABLESPACE pg_default",
        T + "SET ACCESS METHOD heap_of_others",
        T + "SET ACCESS METHOD heap",
    ],
    "privilege": [
        "GRANT SELECT, INSERT ON counters TO {role}",
        "GRANT SELECT (sum), UPDATE (last) ON counters TO {role}",
        "GRANT SELECT ON counters TO {role} WITH GRANT OPTION",
        "REVOKE GRANT OPTION FOR SELECT ON counters FROM {role}",
        "REVOKE SELECT ON counters FROM {role}; GRANT SELECT (key) ON counters TO {role}",
        "REVOKE UPDATE (last) ON counters FROM {role}",
        "GRANT SELECT ON counters TO PUBLIC",
        "REVOKE ALL ON counters FROM PUBLIC, {role}",
        "REVOKE TRUNCATE ON counters FROM postgres",
        "GRANT TRUNCATE ON counters TO postgres",
        T + "OWNER TO {role}",
        T + "OWNER TO postgres",
    ],
    "row-level security": [
        "CREATE POLICY mine ON counters USING (true)",
        T + "ENABLE ROW LEVEL SECURITY",
        T + "FORCE ROW LEVEL SECURITY",
        "ALTER POLICY mine ON counters TO {role} USING (sum > 0) WITH CHECK (sum > 1)",
        "ALTER POLICY mine ON counters RENAME TO ours",
        "COMMENT ON POLICY ours ON counters IS 'theirs'",
        T + "NO FORCE ROW LEVEL SECURITY",
        T + "DISABLE ROW LEVEL SECURITY",
        "DROP POLICY ours ON counters",
    ],
    "trigger": [
        FUNCTION
        + ";CREATE TRIGGER one BEFORE UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION touch()",
        T + "DISABLE TRIGGER one",
        T + "ENABLE ALWAYS TRIGGER one",
        T + "ENABLE TRIGGER one",
        "ALTER TRIGGER one ON counters RENAME TO other",
        "COMMENT ON TRIGGER other ON counters IS 'touches'",
        "CREATE OR REPLACE TRIGGER other AFTER DELETE ON counters EXECUTE FUNCTION touch()",
        "DROP TRIGGER other ON counters",
    ],
    "view": [
        "CREATE VIEW best AS SELECT key, sum FROM counters",
        "CREATE OR REPLACE VIEW best AS SELECT key, sum FROM counters WHERE sum > 1",
        "ALTER VIEW best SET (security_barrier = true)",
        "ALTER VIEW best SET (security_invoker = true)",
        "ALTER VIEW best RESET (security_barrier)",
        "ALTER VIEW best RENAME TO better",
        "ALTER VIEW better ALTER sum SET DEFAULT 4",
        "CREATE VIEW rows AS SELECT row_to_json(c) AS r FROM counters c",
        "GRANT SELECT ON rows TO {role}",
        "COMMENT ON VIEW rows IS 'as JSON'",
        "DROP VIEW rows, better",
    ],
    "statistics": [
        "CREATE STATISTICS related (dependencies) ON count, sum FROM counters",
        "ALTER STATISTICS related SET STATISTICS 40",
        "COMMENT ON STATISTICS related IS 'of each other'",
        "ALTER STATISTICS related OWNER TO {role}",
        "ALTER STATISTICS related RENAME TO akin",
        "DROP STATISTICS akin",
    ],
}


class Pair:
    """A live table and the one it was swapped for, in turns."""

    def __init__(self, connection: AsyncConnection, projection: Projection) -> None:
        self.connection = connection
        self.projection = projection

    async def tables(self) -> tuple[Generation, Generation]:
        """The one that is to go live, and the one that is."""
        known = await generations.of_projection(self.connection, "counters")
        old = next(one for one in known if one.status == ACTIVE)
        target = next(one for one in known if one.status != ACTIVE)
        return target, old

    async def prepare(self) -> Swap:
        """Makes the one as the other is."""
        return await prepare(self.connection, self.projection, *await self.tables())

    async def swap(self) -> None:
        """Swaps them, as they were prepared."""
        swap = await plan_swap(self.connection, self.projection, *await self.tables())
        assert swap.attachments.prepare == ()
        assert swap.attachments.refused == ()
        await lock(self.connection, swap)
        await carry_out(self.connection, swap)


@pytest.mark.parametrize("story", mostly_soak(*STORIES, suite=4))
async def test_what_was_done_by_hand_since_the_preparation_is_true_after_the_swap(
    database: Database, role: str, story: str
) -> None:
    space = f"space_of_{role}"
    projection = counters()
    autocommit = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with autocommit.connect() as connection:
        await connection.execute(text("SET allow_in_place_tablespaces = on"))
        await connection.execute(text(f"CREATE TABLESPACE {space} LOCATION ''"))
        await connection.execute(text("RESET allow_in_place_tablespaces"))
        await connection.execute(
            text("CREATE ACCESS METHOD heap_of_others TYPE TABLE HANDLER heap_tableam_handler")
        )
        await connection.execute(text(f"GRANT CREATE ON SCHEMA public TO {role}"))
    try:
        async with database.engine.connect() as connection:
            async with connection.begin():
                await table_of(connection, ACTIVE, projection)
                await table_of(connection, BUILDING, projection)
            pair = Pair(connection, projection)
            for statement in STORIES[story]:
                async with connection.begin():
                    before = (await pair.prepare()).attachments.fingerprint
                async with connection.begin():
                    driver = await raw(connection)
                    await driver.execute(statement.format(role=role, space=space))
                    expected = await snapshot(connection)
                async with connection.begin():
                    mark = await driver.fetchval(fingerprint_statement("public.counters"))
                    assert mark != before, statement
                    await pair.prepare()
                async with connection.begin():
                    await pair.swap()
                    assert await snapshot(connection) == expected, statement
    finally:
        async with autocommit.connect() as connection:
            await connection.execute(text("DROP SCHEMA public CASCADE"))
            for number in (1, 2):
                schema = generations.own_schema("counters", number)
                await connection.execute(text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            await connection.execute(text(f"DROP TABLESPACE {space}"))
