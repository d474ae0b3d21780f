"""The script of `refold roles`: who applies it, to what, and again; what nobody may do after it."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.errors import InvalidRequest
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine, raw
from refold.runtime.settings import Settings
from refold.store.migrate import migrate
from refold.store.roles.names import Roles
from refold.store.roles.rights import table_rights
from refold.store.roles.script import Scope, roles_script
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.roles import (
    allow_nothing,
    as_superuser,
    database_name,
    give_roles,
    logged_in,
    rights_in,
    roles_of,
    url_as,
)
from tests.support.runs import assert_oracle, leftovers, rows_of, run, working
from tests.support.soaking import soak

FORBIDDEN = [
    ("reader", "UPDATE public.counters SET count = 0"),
    ("reader", "DELETE FROM public.counters"),
    ("reader", "SELECT FROM refold.runs"),
    ("reader", "SELECT FROM refold.events"),
    ("reader", "SELECT FROM refold_counters_g1.counters"),
    ("reader", "CREATE TABLE public.mine (n int)"),
    ("appender", "UPDATE refold.runs SET status = 'completed'"),
    ("appender", "SELECT FROM refold.runs"),
    ("appender", "UPDATE refold.events SET type = 'Other'"),
    ("appender", "DELETE FROM refold.events"),
    ("appender", "TRUNCATE refold.events"),
    ("appender", "SELECT FROM public.counters"),
    ("operator", "DROP TABLE public.counters"),
    ("operator", "UPDATE public.counters SET count = 0"),
    ("operator", "DROP SCHEMA refold_counters_g1 CASCADE"),
    (
        "operator",
        "INSERT INTO refold.events (stream_id, version, type, data) VALUES ('s', 1, 'T', '{}')",
    ),
    ("operator", "UPDATE refold.runs SET status = 'completed'"),
    ("operator", "DELETE FROM refold.system_events"),
    ("operator", "CREATE SCHEMA mine"),
    (
        "worker",
        "INSERT INTO refold.events (stream_id, version, type, data) VALUES ('s', 1, 'T', '{}')",
    ),
    ("worker", "DELETE FROM refold.events"),
    ("worker", "DROP TABLE refold.runs"),
    ("worker", "ALTER TABLE refold.events ADD COLUMN mine int"),
    ("worker", "INSERT INTO refold.imports (digest, name) VALUES ('', '')"),
    ("worker", "SELECT pg_read_file('/etc/passwd')"),
    ("worker", "CREATE ROLE mine"),
    ("migrator", "SELECT FROM public.counters"),
    ("migrator", "CREATE SCHEMA mine"),
    ("migrator", "DROP TABLE public.counters"),
]


@pytest.fixture
async def built(counters_built: None, database: Database) -> Roles:
    """Roles, and a read model that was there before them."""
    return await give_roles(database)


async def test_what_is_no_roles_own_is_refused(
    client: Client, database: Database, built: Roles
) -> None:
    async with (
        logged_in(database, built.worker) as found,
        working(client, found, registry_of(counters())),
    ):
        await run(client, found, "Rebuild", "counters")  # of two generations
    for kind, statement in FORBIDDEN:
        connection = await asyncpg.connect(url_as(database, getattr(built, kind)))
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
            print(f"{kind}: {statement}")
        finally:
            await connection.close()


@pytest.mark.soak  # in the suite, the acceptance tests read so
async def test_a_readers_right_outlives_swaps(
    client: Client, database: Database, built: Roles
) -> None:
    async with (
        logged_in(database, built.reader) as reading,
        logged_in(database, built.worker) as found,
        working(client, found, registry_of(counters())),
    ):
        for number in (2, 3):
            result = await run(client, found, "Rebuild", "counters")
            assert result.generation == number
            assert await rows_of(reading.engine, counters()) == await assert_oracle(
                database.engine, counters()
            )


@pytest.mark.usefixtures("counters_built")
async def test_an_installation_of_one_owner_gets_roles(client: Client, database: Database) -> None:
    """What was made by the owner is given away; live tables that somebody else owns stay his."""
    async with working(client, database, registry_of(counters())):
        await run(client, database, "Rebuild", "counters")
        roles = await give_roles(database)
    before = await rights_in(database, roles.all)
    async with (
        logged_in(database, roles.worker) as found,
        working(client, found, registry_of(counters())),
    ):
        await run(client, found, "Rebuild", "counters")
        await run(client, found, "Rollback", "counters")
    async with logged_in(database, roles.reader) as reading:
        assert len(await rows_of(reading.engine, counters())) == 40
    await give_roles(database)
    again = await rights_in(database, roles.all)
    # Only generations have come and gone.
    assert {one for one in before if "refold_counters" not in one[2]} == {
        one for one in again if "refold_counters" not in one[2]
    }


async def test_the_owner_of_the_database_applies_it(database: Database) -> None:
    """Who is no superuser, and may create roles, as on a hosted server."""
    roles, name = roles_of(database), database_name(database)
    owner = f"{name}_admin"
    await allow_nothing(database.url)
    await as_superuser(
        database,
        f"CREATE ROLE {owner} LOGIN CREATEROLE",
        f"ALTER DATABASE {name} OWNER TO {owner}",
        f"ALTER SCHEMA public OWNER TO {owner}",
        "DROP SCHEMA refold CASCADE",
    )
    engine = make_engine(Settings(database_url=url_as(database, owner)), activities=0)
    try:
        for _ in range(2):
            async with engine.connect() as connection:
                await (await raw(connection)).execute(roles_script(roles, Scope()))
            async with logged_in(database, roles.migrator) as migrating:
                await migrate(migrating.engine)
    finally:
        await engine.dispose()
    await _has_all_rights(database, roles)


async def _has_all_rights(database: Database, roles: Roles) -> None:
    found = set(await rights_in(database, roles.all))
    wanted = {
        (one.role, "table", f"refold.{one.table}", right)
        for one in table_rights(roles)
        for right in one.rights
    }
    assert wanted == {one for one in found if one[1] == "table" and one[3] != "OWNER"}


@pytest.mark.parametrize("who", ["the migrator", *soak("a superuser")])
async def test_migrating_gives_rights_on_what_is_new(database: Database, who: str) -> None:
    await as_superuser(database, "DROP SCHEMA refold CASCADE")
    roles = await give_roles(database)  # before there is any table
    async with logged_in(database, roles.migrator) as migrating:
        engine = migrating.engine if who == "the migrator" else database.engine
        assert await migrate(engine)
        assert not await migrate(engine)
    await _has_all_rights(database, roles)
    owners = (
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = "
        "'refold'::regnamespace AND relkind IN ('r', 'S')"
    )
    async with database.engine.connect() as connection:
        assert list((await connection.execute(text(owners))).scalars()) == [roles.migrator]


async def test_a_copy_that_an_operator_drops_is_dropped_by_workers(
    client: Client, database: Database, built: Roles
) -> None:
    async with (
        logged_in(database, built.worker) as found,
        logged_in(database, built.operator) as operating,
    ):
        async with working(client, found, registry_of(counters())):
            await run(client, found, "Snapshot", "counters")
        manager = ProjectionManager(client, operating.url)
        (copy,) = await manager.get_snapshots("counters")
        await manager.drop_snapshot("counters", copy.generation)
        assert await manager.get_snapshots("counters") == []
        await manager.close()
        sweep = Sweep(found.engine, TemporalExecutions(client))
        looked = await sweep.run_once()
    assert looked.troubles == []
    assert looked.done == [f"refold_counters_g{copy.generation}.counters"]
    assert await leftovers(database.engine) == []


def test_the_script_names_what_settings_and_options_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.mortal")
    monkeypatch.setenv("REFOLD_MIRRORS", "tests.support.mirrored:feed")
    printed = CliRunner().invoke(app, ["roles", "--prefix", "shop-", "--schema", "it's"])
    assert printed.exit_code == 0
    assert "('shop-worker', 'events', 'SELECT, INSERT')" in printed.output
    assert "ARRAY['it''s', 'public']::text[]" in printed.output
    refused = CliRunner().invoke(app, ["roles", "--prefix", "x" * 60])
    assert refused.exit_code == 1
    assert "prefix: expected up to 55 bytes" in refused.output
    with pytest.raises(InvalidRequest):
        Roles("pg_")
