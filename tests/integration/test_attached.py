"""All that hangs on a live table moves with a swap, and back; or is refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.activities.shadow import add_indexes
from refold.projection.declaration import Projection
from refold.store import generations
from refold.store.generations import ACTIVE, BUILDING, Generation
from refold.store.swap.swap import carry_out, lock, plan_swap, prepare
from refold.store.tables import read_models
from tests.support.catalogue import snapshot
from tests.support.counters import counters
from tests.support.databases import Database

FUNCTION = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$"

# Kind of thing: the statements that make it, and a word that names it. {role} is a role.
CARRIED: dict[str, tuple[list[str], str]] = {
    "view": (
        [
            "CREATE VIEW best WITH (security_barrier = true) AS SELECT key AS k, sum FROM counters",
            "CREATE VIEW better AS SELECT * FROM best WHERE sum > 0 WITH CHECK OPTION",
            "GRANT SELECT ON best, better TO {role}",
            "COMMENT ON VIEW best IS 'the best'",
        ],
        "view public.best",
    ),
    "view of another owner": (
        [
            "CREATE VIEW best AS TABLE counters",
            "ALTER VIEW best OWNER TO {role}",
            "GRANT SELECT ON counters TO {role}",
        ],
        "view public.best",
    ),
    "grant": (
        [
            "GRANT SELECT, INSERT ON counters TO {role}",
            "GRANT UPDATE ON counters TO {role} WITH GRANT OPTION",
            "GRANT SELECT ON counters TO PUBLIC",
        ],
        "grant SELECT to PUBLIC",
    ),
    "column grant": (
        ["GRANT SELECT (key, sum), UPDATE (last) ON counters TO {role}"],
        "grant SELECT (sum) to",
    ),
    "owner": (["ALTER TABLE counters OWNER TO {role}"], "owner"),
    "trigger": (
        [
            FUNCTION,
            "CREATE TRIGGER one BEFORE UPDATE OF sum ON counters FOR EACH ROW "
            "WHEN (NEW.sum > 0) EXECUTE FUNCTION touch()",
            "CREATE TRIGGER two AFTER INSERT ON counters FOR EACH ROW EXECUTE FUNCTION touch()",
            "ALTER TABLE counters DISABLE TRIGGER two",
            "COMMENT ON TRIGGER two ON counters IS 'sleeps; well'",
            "CREATE CONSTRAINT TRIGGER three AFTER INSERT ON counters DEFERRABLE "
            "FOR EACH ROW EXECUTE FUNCTION touch()",
            "ALTER TABLE counters ENABLE ALWAYS TRIGGER three",
        ],
        "trigger one",
    ),
    "row-level security": (
        [
            "CREATE POLICY mine ON counters AS RESTRICTIVE FOR SELECT TO {role} "
            "USING (key <> 'it''s')",
            "CREATE POLICY ours ON counters TO PUBLIC, {role} USING (true) WITH CHECK (sum > 0)",
            "ALTER TABLE counters ENABLE ROW LEVEL SECURITY",
            "COMMENT ON POLICY mine ON counters IS 'of them'",
        ],
        "policy mine",
    ),
    "forced row-level security": (
        [
            "CREATE POLICY ours ON counters USING (true)",
            "ALTER TABLE counters ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        ],
        "row-level security, forced",
    ),
    "comment": (
        [
            "COMMENT ON TABLE counters IS 'what''s counted: 100 %'",
            "COMMENT ON COLUMN counters.sum IS 'in euros'",
            "COMMENT ON INDEX counters_sum IS 'for reports'",
            "COMMENT ON CONSTRAINT counters_pkey ON counters IS 'the key'",
        ],
        "comment on column sum",
    ),
    "storage parameter": (
        ["ALTER TABLE counters SET (fillfactor = 70, toast.autovacuum_enabled = false)"],
        "storage parameter fillfactor=70",
    ),
    "column settings": (
        [
            "ALTER TABLE counters ALTER key SET STATISTICS 500, ALTER key SET STORAGE EXTERNAL, "
            "ALTER sum SET (n_distinct = 5)"
        ],
        "statistics target of key",
    ),
    "default": (["ALTER TABLE counters ALTER last SET DEFAULT 7"], "default of last"),
    "replica identity": (["ALTER TABLE counters REPLICA IDENTITY FULL"], "replica identity"),
    "replica identity by index": (
        [
            "CREATE UNIQUE INDEX by_hand ON counters (key, count)",
            "ALTER TABLE counters REPLICA IDENTITY USING INDEX by_hand",
            "ALTER TABLE counters CLUSTER ON by_hand",
        ],
        "index by_hand",
    ),
    "index": (
        [
            'CREATE INDEX "By hand" ON counters USING btree (lower(key) DESC) INCLUDE (last) '
            "WITH (fillfactor = 60) WHERE sum > 0",
            "COMMENT ON INDEX \"By hand\" IS 'mine'",
        ],
        'index "By hand"',
    ),
    "constraint": (
        [
            "ALTER TABLE counters ADD CONSTRAINT positive CHECK (count > 0)",
            "ALTER TABLE counters ADD CONSTRAINT once UNIQUE (key, last)",
            "CREATE TABLE keys (key text PRIMARY KEY)",
            "INSERT INTO keys VALUES ('a')",
            "ALTER TABLE counters ADD CONSTRAINT known FOREIGN KEY (key) REFERENCES keys",
        ],
        "constraint known",
    ),
    "statistics": (
        ["CREATE STATISTICS related (dependencies) ON count, sum FROM counters"],
        "statistics related",
    ),
    "publication of all tables": (
        ["CREATE PUBLICATION everything FOR ALL TABLES"],
        "publication everything",
    ),
}

REFUSED: dict[str, tuple[list[str], str]] = {
    "materialized view": (
        ["CREATE MATERIALIZED VIEW sums AS TABLE counters"],
        "materialized view public.sums",
    ),
    "inbound foreign key": (
        ["CREATE TABLE other (key text CONSTRAINT refers REFERENCES counters)"],
        "foreign key refers of public.other",
    ),
    "publication": (["CREATE PUBLICATION one FOR TABLE counters"], "publication one"),
    "owned sequence": (
        ["CREATE SEQUENCE numbers OWNED BY counters.last"],
        "sequence public.numbers",
    ),
    "identity": (
        [
            "ALTER TABLE counters ALTER last SET NOT NULL, "
            "ALTER last ADD GENERATED ALWAYS AS IDENTITY"
        ],
        "identity column last",
    ),
    "child": (["CREATE TABLE child () INHERITS (counters)"], "table public.child is a child"),
    "parent": (
        ["CREATE TABLE parent (key text)", "ALTER TABLE counters INHERIT parent"],
        "the live table is a child of public.parent",
    ),
    "partition": (
        [
            "CREATE TABLE whole (LIKE counters) PARTITION BY LIST (key)",
            "ALTER TABLE whole ATTACH PARTITION counters DEFAULT",
        ],
        "the live table is a child of public.whole",
    ),
    "rule": (
        ["CREATE RULE nothing AS ON DELETE TO counters DO INSTEAD NOTHING"],
        "rule nothing",
    ),
    "function with it in its body": (
        ["CREATE FUNCTION n() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM counters; END"],
        "function public.n()",
    ),
    "function with its row type": (
        ["CREATE FUNCTION f() RETURNS SETOF counters LANGUAGE sql AS 'TABLE counters'"],
        "function public.f() uses the row type",
    ),
    "column by hand": (["ALTER TABLE counters ADD mine text"], "column mine was added by hand"),
    "policy of another table": (
        [
            "CREATE TABLE other (key text)",
            "CREATE POLICY known ON other USING (key IN (SELECT c.key FROM counters c))",
        ],
        "policy known of public.other",
    ),
    "unlogged": (["ALTER TABLE counters SET UNLOGGED"], "the live table is unlogged"),
}


@pytest.fixture
async def role(database: Database) -> AsyncIterator[str]:
    name = "role_of_" + database.url.rsplit("/", 1)[1]
    async with database.engine.begin() as connection:
        await connection.execute(text(f"CREATE ROLE {name}"))
    yield name
    async with database.engine.begin() as connection:
        await connection.execute(text(f"DROP OWNED BY {name}"))
        await connection.execute(text(f"DROP ROLE {name}"))


async def table_of(connection: AsyncConnection, status: str, projection: Projection) -> Generation:
    """A generation with its table, filled with one row."""
    made = await generations.create(
        connection,
        "counters",
        version=projection.version,
        status=status,
        schema_name="public" if status == ACTIVE else None,
        table_name="counters",
        position=0,
    )
    if status == ACTIVE:
        await read_models.create_shadow(connection, projection, "temporary")
        await read_models.move(connection, "counters", old="temporary", new="public")
    else:
        await read_models.create_shadow(connection, projection, made.schema_name)
    await connection.execute(text(f"INSERT INTO {made.schema_name}.counters VALUES ('a', 1, 1, 1)"))
    await add_indexes(connection, projection, made)
    return made


async def swapped(engine: AsyncEngine, projection: Projection, target: int) -> list[str]:
    """Swaps a generation in as an activity does; returns what was carried."""
    async with engine.begin() as connection:
        shadow = await generations.get(connection, "counters", target)
        old = await generations.active(connection, "counters")
        assert shadow is not None
        dry = await plan_swap(connection, projection, shadow, old, dry=True)
        await prepare(connection, projection, shadow, old)
    async with engine.begin() as connection:
        swap = await plan_swap(connection, projection, shadow, old)
        assert swap.attachments.prepare == ()
        assert swap.attachments.refused == ()
        await lock(connection, swap)
        await carry_out(connection, swap)
    return list(dry.attachments.carried)


async def start(database: Database, statements: list[str], role: str) -> Projection:
    projection = counters()
    async with database.engine.begin() as connection:
        await table_of(connection, ACTIVE, projection)
        for statement in statements:
            await connection.execute(text(statement.format(role=role)))
    async with database.engine.begin() as connection:
        await table_of(connection, BUILDING, projection)
    return projection


@pytest.mark.parametrize("kind", CARRIED)
async def test_it_is_carried_over_and_back(database: Database, role: str, kind: str) -> None:
    statements, word = CARRIED[kind]
    projection = await start(database, statements, role)
    async with database.engine.connect() as connection:
        before = await snapshot(connection)
    said: list[str] = []
    for target in (2, 1, 2):
        carried = await swapped(database.engine, projection, target)
        if target == 2 and not said:
            said = carried
        async with database.engine.connect() as connection:
            assert await snapshot(connection) == before
    assert any(word in thing for thing in said), said


@pytest.mark.parametrize("kind", REFUSED)
async def test_it_is_refused_by_name(database: Database, role: str, kind: str) -> None:
    statements, word = REFUSED[kind]
    projection = await start(database, statements, role)
    async with database.engine.begin() as connection:
        shadow = await generations.get(connection, "counters", 2)
        old = await generations.active(connection, "counters")
        assert shadow is not None
        for dry in (True, False):
            swap = await plan_swap(connection, projection, shadow, old, dry=dry)
            assert len(swap.attachments.refused) == 1
            assert swap.attachments.refused[0].startswith(word)
            assert ": " in swap.attachments.refused[0], "it says what to do"


async def test_what_was_taken_away_since_does_not_come_back_in_a_rollback(
    database: Database, role: str
) -> None:
    projection = await start(
        database, ["GRANT SELECT ON counters TO {role}", "COMMENT ON TABLE counters IS 'old'"], role
    )
    await swapped(database.engine, projection, 2)
    async with database.engine.begin() as connection:
        await connection.execute(text(f"REVOKE SELECT ON counters FROM {role}"))
        await connection.execute(text("COMMENT ON TABLE counters IS NULL"))
        before = await snapshot(connection)
    await swapped(database.engine, projection, 1)
    async with database.engine.connect() as connection:
        after = await snapshot(connection)
    assert after == before


async def test_the_first_table_has_the_default_privileges_of_its_schema(
    database: Database, role: str
) -> None:
    projection = counters()
    async with database.engine.begin() as connection:
        for statement in (
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, UPDATE ON TABLES TO {role}",
            "ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO PUBLIC",
            "CREATE TABLE by_hand ()",
        ):
            await connection.execute(text(statement))
        await table_of(connection, BUILDING, projection)
    said = await swapped(database.engine, projection, 1)
    assert f"grant SELECT to {role}, by default" in said
    async with database.engine.begin() as connection:
        acls = await connection.execute(
            text(
                "SELECT relacl::text FROM pg_class WHERE relname IN ('counters', 'by_hand') "
                "AND relnamespace = 'public'::regnamespace"
            )
        )
        by_hand, ours = (sorted(acl.strip("{}").split(",")) for acl in acls.scalars())
        await connection.execute(
            text("ALTER DEFAULT PRIVILEGES REVOKE INSERT ON TABLES FROM PUBLIC")
        )
    assert ours == by_hand


CHANGES = [
    "CREATE VIEW another AS TABLE counters",
    "CREATE OR REPLACE VIEW best AS SELECT key, sum FROM counters WHERE sum > 1",
    "GRANT SELECT ON counters TO {role}",
    "GRANT SELECT (sum) ON counters TO {role}",
    "COMMENT ON COLUMN counters.sum IS 'other'",
    "CREATE INDEX another ON counters (last)",
    "ALTER TABLE counters SET (fillfactor = 50)",
    "ALTER TABLE counters ALTER key SET STATISTICS 9",
    "ALTER TABLE counters DISABLE TRIGGER one",
    "ALTER POLICY ours ON counters USING (false)",
]


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_after_the_look_stops_the_swap(
    database: Database, role: str, change: str
) -> None:
    projection = await start(
        database,
        [
            FUNCTION,
            "CREATE VIEW best AS SELECT key, sum FROM counters",
            "CREATE TRIGGER one AFTER INSERT ON counters EXECUTE FUNCTION touch()",
            "CREATE POLICY ours ON counters USING (true)",
        ],
        role,
    )
    async with database.engine.connect() as connection:
        shadow = await generations.get(connection, "counters", 2)
        old = await generations.active(connection, "counters")
        assert shadow is not None
        swap = await plan_swap(connection, projection, shadow, old)
        await connection.rollback()
        async with database.engine.begin() as other:
            await other.execute(text(change.format(role=role)))
        await lock(connection, swap)
        with pytest.raises(Exception, match="has changed meanwhile"):
            await carry_out(connection, swap)
        await connection.rollback()
