"""What the role may do: workers need it; this command's role is taken for theirs."""

from __future__ import annotations

from collections import defaultdict

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.cli.doctor.finding import Finding, ok, wrong
from refold.cli.doctor.look import Look
from refold.projection.schemas import declared_schema
from refold.store.tables.read_models import quoted

_ROLE = text(
    """
    SELECT current_user AS role, current_database() AS database,
           has_database_privilege(current_database(), 'CREATE') AS may_create
    """
)
# Events are appended by others, and read by what the check of events looks at.
_LACKING = text(
    """
    SELECT c.relname AS name, ARRAY(
        SELECT p FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS p
        WHERE NOT has_table_privilege(c.oid, p)) AS lacking
    FROM pg_class c
    WHERE c.relnamespace = to_regnamespace('refold') AND c.relkind IN ('r', 'p')
      AND c.relname NOT IN ('events', 'imports', 'alembic_version')
    ORDER BY 1
    """
)
_SCHEMA = text(
    """
    SELECT to_regnamespace(:name) IS NOT NULL AS is_there,
           coalesce(has_schema_privilege(to_regnamespace(:name), 'CREATE'), false) AS may_create
    """
)
_LIVE_TABLES = text(
    """
    SELECT g.schema_name AS schema, g.table_name AS table, pg_get_userbyid(c.relowner) AS owner
    FROM refold.generations g
    JOIN pg_class c ON c.oid = to_regclass(format('%I.%I', g.schema_name, g.table_name))
    WHERE g.status = 'active' AND NOT pg_has_role(c.relowner, 'USAGE')
    ORDER BY 1, 2
    """
)


async def rights(look: Look) -> list[Finding]:
    """Whether the role may make generations, write Refold's tables, and swap read models."""
    async with look.connected() as connection:
        role = (await connection.execute(_ROLE)).one()
        name = quoted(role.role)
        found = [] if role.may_create else [_no_schemas(name, role.database)]
        found += await _in_own_schema(connection, name)
        found += await _in_schemas_of_tables(connection, look, name)
        for row in await connection.execute(_LIVE_TABLES):
            table = quoted(row.schema, row.table)
            found.append(
                wrong(
                    f"{table} is owned by {row.owner}, and role {name} is not a member of it: no "
                    "swap can move it",
                    f"ALTER TABLE {table} OWNER TO {name}; or GRANT {quoted(row.owner)} TO {name}",
                )
            )
    return found or [ok(f"role {name} has what workers need")]


def _no_schemas(role: str, database: str) -> Finding:
    return wrong(
        f"role {role} may not create schemas in database {database}: each new generation has one",
        f"GRANT CREATE ON DATABASE {quoted(database)} TO {role}",
    )


async def _in_own_schema(connection: AsyncConnection, role: str) -> list[Finding]:
    tables: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in await connection.execute(_LACKING):
        if row.lacking:
            tables[tuple(row.lacking)].append(quoted("refold", row.name))
    return [
        wrong(
            f"role {role} lacks {', '.join(lacking)} on {', '.join(names)}",
            f"GRANT {', '.join(lacking)} ON {', '.join(names)} TO {role}",
        )
        for lacking, names in tables.items()
    ]


async def _in_schemas_of_tables(
    connection: AsyncConnection, look: Look, role: str
) -> list[Finding]:
    found = []
    registry = look.registry or ()
    for schema in sorted({declared_schema(one.table) for one in registry}):
        name = quoted(schema)
        row = (await connection.execute(_SCHEMA, {"name": name})).one()
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
