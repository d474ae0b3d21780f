"""What roles may do: those of `refold roles`, or else this command's, taken for the workers'."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.cli.doctor.finding import Finding, ok, wrong
from refold.cli.doctor.look import Look
from refold.projection.schemas import declared_schema
from refold.store.roles.names import Roles
from refold.store.roles.rights import TableRights, table_rights
from refold.store.schema import SCHEMA
from refold.store.tables.read_models import quoted

_ROLE = text(
    f"""
    SELECT current_user AS own, pg_get_userbyid(nspowner) AS owner, current_database() AS database
    FROM pg_namespace WHERE nspname = '{SCHEMA}'
    """
)
_THERE = text("SELECT rolname FROM pg_roles WHERE rolname = ANY (:names)")
_MAY_MAKE_SCHEMAS = text("SELECT has_database_privilege(:role, current_database(), 'CREATE')")
_LACKING = text(
    f"""
    SELECT ARRAY(SELECT p FROM unnest(CAST(:rights AS text[])) AS p
                 WHERE NOT has_table_privilege(:role, c.oid, p)) AS lacking
    FROM pg_class c WHERE c.oid = to_regclass(format('{SCHEMA}.%I', CAST(:table AS text)))
    """
)
_SCHEMA = text(
    """
    SELECT to_regnamespace(:name) IS NOT NULL AS is_there,
           coalesce(has_schema_privilege(:role, to_regnamespace(:name), 'CREATE'), false)
               AS may_create
    """
)
_LIVE_TABLES = text(
    """
    SELECT g.schema_name AS schema, g.table_name AS table, pg_get_userbyid(c.relowner) AS owner
    FROM refold.generations g
    JOIN pg_class c ON c.oid = to_regclass(format('%I.%I', g.schema_name, g.table_name))
    WHERE g.status = 'active' AND NOT pg_has_role(:role, c.relowner, 'USAGE')
    ORDER BY 1, 2
    """
)


async def rights(look: Look) -> list[Finding]:
    """Whether workers may make generations and swap read models, and all write Refold's tables."""
    async with look.connected() as connection:
        named = (await connection.execute(_ROLE)).one()
        roles = Roles.of_owner(named.owner)
        there = set() if roles is None else await _those_there(connection, roles)
        if roles is not None and roles.worker in there:
            worker, who = roles.worker, f"roles {', '.join(sorted(there))} have"
            wanted = [
                one
                for one in table_rights(roles, mirrors=bool(look.settings.mirrors))
                if one.role in there
            ]
        else:
            worker, who = named.own, f"role {quoted(named.own)} has"
            wanted = _of_workers(worker, mirrors=bool(look.settings.mirrors))
        found = []
        if not await connection.scalar(_MAY_MAKE_SCHEMAS, {"role": worker}):
            found.append(_no_schemas(quoted(worker), named.database))
        found += await _in_own_schema(connection, wanted)
        found += await _in_schemas_of_tables(connection, look, worker)
        found += await _owned_by_others(connection, worker)
    return found or [ok(f"{who} what workers need" if there == set() else f"{who} what they need")]


async def _those_there(connection: AsyncConnection, roles: Roles) -> set[str]:
    return set((await connection.execute(_THERE, {"names": list(roles.all)})).scalars())


def _of_workers(role: str, *, mirrors: bool) -> list[TableRights]:
    roles = Roles()
    return [
        TableRights(role, one.table, one.rights)
        for one in table_rights(roles, mirrors=mirrors)
        # Events may be read by what the check of events looks at.
        if one.role == roles.worker and one.table not in ("events", "alembic_version")
    ]


def _no_schemas(role: str, database: str) -> Finding:
    return wrong(
        f"role {role} may not create schemas in database {database}: each new generation has one",
        f"GRANT CREATE ON DATABASE {quoted(database)} TO {role}",
    )


async def _in_own_schema(
    connection: AsyncConnection, wanted: Iterable[TableRights]
) -> list[Finding]:
    tables: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for one in wanted:
        asked = {"role": one.role, "table": one.table, "rights": list(one.rights)}
        lacking = await connection.scalar(_LACKING, asked)
        if lacking:
            tables[one.role, tuple(lacking)].append(quoted(SCHEMA, one.table))
    return [
        wrong(
            f"role {quoted(role)} lacks {', '.join(lacking)} on {', '.join(names)}",
            f"GRANT {', '.join(lacking)} ON {', '.join(names)} TO {quoted(role)}",
        )
        for (role, lacking), names in tables.items()
    ]


async def _in_schemas_of_tables(
    connection: AsyncConnection, look: Look, worker: str
) -> list[Finding]:
    found, role = [], quoted(worker)
    registry = look.registry or ()
    for schema in sorted({declared_schema(one.table) for one in registry}):
        name = quoted(schema)
        row = (await connection.execute(_SCHEMA, {"name": name, "role": worker})).one()
        if not row.is_there:
            found.append(
                wrong(
                    f"there is no schema {name}, in which projections declare their tables",
                    f"CREATE SCHEMA {name} AUTHORIZATION {role}",
                )
            )
        elif not row.may_create:
            found.append(
                wrong(
                    f"role {role} may not create tables in schema {name}: no read model can go "
                    "live there",
                    f"GRANT USAGE, CREATE ON SCHEMA {name} TO {role}",
                )
            )
    return found


async def _owned_by_others(connection: AsyncConnection, worker: str) -> list[Finding]:
    role = quoted(worker)
    return [
        wrong(
            f"{quoted(row.schema, row.table)} is owned by {row.owner}, and role {role} is not a "
            "member of it: no swap can move it",
            f"ALTER TABLE {quoted(row.schema, row.table)} OWNER TO {role}; or GRANT "
            f"{quoted(row.owner)} TO {role}",
        )
        for row in await connection.execute(_LIVE_TABLES, {"role": worker})
    ]
