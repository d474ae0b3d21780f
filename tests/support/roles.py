"""A database with the roles of an installation, and nothing that anybody may do beside them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.runtime.database import make_engine, raw
from refold.store.roles.names import Roles
from refold.store.roles.script import Scope, roles_script
from tests.support.databases import Database

# What everybody may do by default is no role's own right.
_FOR_ALL = (
    "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
    "REVOKE ALL ON SCHEMA public FROM PUBLIC",
)


def roles_of(database: Database) -> Roles:
    """The roles of a test's database: no other test has them."""
    return Roles(f"{database_name(database)}_")


def database_name(database: Database) -> str:
    """The database's own name."""
    return urlsplit(database.url).path[1:]


async def give_roles(database: Database, scope: Scope | None = None) -> Roles:
    """Makes the roles, by the script that operators apply."""
    roles = roles_of(database)
    await allow_nothing(database.url)
    async with database.engine.connect() as connection:
        script = roles_script(roles, scope or Scope())
        await (await raw(connection)).execute(script)
    return roles


async def allow_nothing(url: str) -> None:
    """Takes away what everybody may do by default, at a database's address."""
    connection = await asyncpg.connect(url)
    try:
        for statement in _FOR_ALL:
            await connection.execute(statement.format(database=urlsplit(url).path[1:]))
    finally:
        await connection.close()


async def as_superuser(database: Database, *statements: str) -> None:
    """Executes statements one after another; ``{database}`` is the database's name."""
    async with database.engine.begin() as connection:
        driver = await raw(connection)
        for statement in statements:
            await driver.execute(statement.replace("{database}", database_name(database)))


def url_as(database: Database, role: str) -> str:
    """The database's address for a role."""
    return url_of_role(database.url, role)


def url_of_role(url: str, role: str) -> str:
    """An address, for another role than the one in it."""
    address = urlsplit(url)
    host = address.netloc.rpartition("@")[2]
    return address._replace(netloc=f"{role}@{host}").geturl()


@asynccontextmanager
async def logged_in(
    database: Database, role: str, *, activities: int = 4
) -> AsyncIterator[Database]:
    """The same database, for somebody who logs in as a role."""
    url = url_as(database, role)
    settings = database.settings.model_copy(update={"database_url": url})
    engine = make_engine(settings, activities=activities)
    try:
        yield Database(url, engine, settings)
    finally:
        await engine.dispose()


ALL_RIGHTS = """
    SELECT role, kind, object, privilege FROM (
        SELECT pg_get_userbyid(acl.grantee), 'database', quote_ident(datname), acl.privilege_type
        FROM pg_database, aclexplode(datacl) AS acl
        WHERE datname = current_database() AND acl.grantee <> datdba
        UNION ALL
        SELECT pg_get_userbyid(acl.grantee), 'schema', quote_ident(nspname), acl.privilege_type
        FROM pg_namespace, aclexplode(nspacl) AS acl WHERE acl.grantee <> nspowner
        UNION ALL
        SELECT pg_get_userbyid(acl.grantee), 'table', oid::regclass::text, acl.privilege_type
        FROM pg_class, aclexplode(relacl) AS acl WHERE acl.grantee <> relowner
        UNION ALL
        SELECT pg_get_userbyid(acl.grantee), 'column', attrelid::regclass || '.' || attname,
               acl.privilege_type
        FROM pg_attribute, aclexplode(attacl) AS acl
        UNION ALL
        SELECT pg_get_userbyid(acl.grantee), 'default', CASE defaclobjtype WHEN 'r' THEN 'tables'
               WHEN 'n' THEN 'schemas' ELSE defaclobjtype::text END
               || coalesce(' in ' || defaclnamespace::regnamespace, ''), acl.privilege_type
        FROM pg_default_acl, aclexplode(defaclacl) AS acl WHERE acl.grantee <> defaclrole
        UNION ALL
        SELECT pg_get_userbyid(member), 'membership', pg_get_userbyid(roleid), 'MEMBER'
        FROM pg_auth_members
        UNION ALL
        SELECT pg_get_userbyid(nspowner), 'schema', quote_ident(nspname), 'OWNER' FROM pg_namespace
        UNION ALL
        SELECT pg_get_userbyid(relowner), 'table', oid::regclass::text, 'OWNER'
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm')
        UNION ALL
        SELECT rolname, 'attribute', 'role', attribute
        FROM pg_roles, unnest(ARRAY[
            CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END,
            CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolreplication THEN 'REPLICATION'
            END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END]) AS attribute
        WHERE attribute IS NOT NULL
    ) AS found (role, kind, object, privilege)
    WHERE role = ANY ($1) ORDER BY 1, 2, 3, 4
"""
"""What roles may do, as PostgreSQL's catalogue has it."""


_INHERITED = """
    DO $$
    DECLARE before text := (SELECT pg_get_userbyid(relowner) FROM pg_class
                            WHERE oid = to_regclass('public.counters'));
    BEGIN
        IF before LIKE 'test%worker' AND before <> '{worker}' THEN
            EXECUTE format('REASSIGN OWNED BY %I TO {worker}', before);
        END IF;
    END $$
"""
"""Of a database that was copied, the workers have what those of the other one had made."""


async def engine_of_workers(database: Database) -> AsyncEngine:
    """What a test's workers connect by: the database's own engine.

    With TEST_ROLES they log in as the role of workers. Tests that make something by hand,
    which workers are then to change, do not pass with it.
    """
    if not os.environ.get("TEST_ROLES"):
        return database.engine
    roles = await give_roles(database, Scope(mirrors=True))
    # Where events are that are not Refold's own; its own tables are in another schema.
    read = f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {roles.worker}"
    await as_superuser(database, read, _INHERITED.format(worker=roles.worker))
    url = url_as(database, roles.worker)
    settings = database.settings.model_copy(update={"database_url": url})
    return make_engine(settings, activities=10)


async def rights_in(database: Database, roles: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """What roles may do: role, kind of object, object and right."""
    async with database.engine.connect() as connection:
        found = await (await raw(connection)).fetch(ALL_RIGHTS, list(roles))
    return [tuple(record) for record in found]
