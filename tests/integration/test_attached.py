"""All that is attached to a live table moves with a swap, and back; or is refused by name."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.cutover.indexes import add_indexes
from refold.projection.declaration import Projection
from refold.store import generations
from refold.store.generations import ACTIVE, BUILDING, Generation
from refold.store.swap.swap import carry_out, lock, plan_swap, prepare
from refold.store.tables import read_models
from tests.support.attachments import CARRIED, FUNCTION, REFUSED
from tests.support.catalogue import snapshot
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.soaking import mostly_soak


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


@pytest.mark.parametrize("kind", mostly_soak(*CARRIED, suite=9))
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


async def test_it_is_refused_by_name(database: Database, role: str) -> None:
    projection = await start(database, [], role)
    for kind, (statements, word) in REFUSED.items():
        async with database.engine.connect() as connection:
            shadow = await generations.get(connection, "counters", 2)
            old = await generations.active(connection, "counters")
            assert shadow is not None
            for statement in statements:
                await connection.execute(text(statement.format(role=role)))
            for dry in (True, False):
                swap = await plan_swap(connection, projection, shadow, old, dry=dry)
                assert len(swap.attachments.refused) == 1, kind
                assert swap.attachments.refused[0].startswith(word), kind
                assert ": " in swap.attachments.refused[0], f"{kind}: it says what to do"
            await connection.rollback()


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
    "CREATE INDEX one_more ON counters (last)",
    "ALTER TABLE counters SET (fillfactor = 50)",
    "ALTER TABLE counters ALTER key SET STATISTICS 9",
    "ALTER TABLE counters DISABLE TRIGGER one",
    "ALTER POLICY ours ON counters USING (false)",
]


async def test_a_change_after_the_look_stops_the_swap(database: Database, role: str) -> None:
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
        for change in CHANGES:
            print(change)
            swap = await plan_swap(connection, projection, shadow, old)
            await connection.rollback()
            async with database.engine.begin() as other:
                await other.execute(text(change.format(role=role)))
            await lock(connection, swap)
            with pytest.raises(Exception, match="has changed meanwhile"):
                await carry_out(connection, swap)
            await connection.rollback()
