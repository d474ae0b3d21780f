"""Makes, indexes and drops the tables that readers query, and their shadows."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import (
    DDL,
    CheckConstraint,
    Column,
    Constraint,
    ForeignKeyConstraint,
    MetaData,
    Table,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import AddConstraint, CreateIndex, CreateTable, ExecutableDDLElement

from refold.projection.columns.declared import written_columns
from refold.projection.declaration import Projection
from refold.projection.schemas import declared_schema
from refold.runtime.database import DIALECT
from refold.runtime.driver import carry_out
from refold.store import generations
from refold.store.tables.foreign_keys import foreign_keys


def quoted(*names: str) -> str:
    """A qualified name, quoted where it must be."""
    # By the driver's own dialect: others double percent signs.
    return ".".join(DIALECT.identifier_preparer.quote(name) for name in names)


# SQLAlchemy caches compiled statements by the table object. With a new object for each segment, it
# would compile all statements again, and keep the old ones until its cache is full.
@lru_cache(maxsize=256)
def physical(projection: Projection, schema: str) -> Table:
    """The projection's table as it stands, or will stand, in that schema; not to be changed."""
    made = projection.table.to_metadata(
        MetaData(),
        schema=schema,
        # What it refers to stays where it is.
        referred_schema_fn=lambda table, to, constraint, referred: referred,
    )
    for copied, column in zip(made.columns, projection.table.columns, strict=True):
        copied.type = column.type  # a type with a name stays in the schema that it is declared in
    return made


async def live_schema(connection: AsyncConnection, projection: Projection) -> str:
    """The schema in which readers find the projection's table.

    It is the one where the active generation is recorded to stand: neither the session's
    ``search_path`` nor a schema that appears later leads the next table elsewhere. Without an
    active generation it is the one that the table declares.
    """
    active = await generations.active(connection, projection.name)
    return active.schema_name if active is not None else declared_schema(projection.table)


def misplaced(projection: Projection, live: str) -> str | None:
    """Why the table cannot stay where it is, in words; None when it can."""
    declared = projection.table.schema
    if declared is None or declared == live:
        return None
    name = projection.table.name
    return (
        f"projection {projection.name!r}: its table is declared in schema {declared!r}, and the "
        f"one that readers query stands in {live!r}: declare it there, or move it: "
        f"ALTER TABLE {quoted(live, name)} SET SCHEMA {quoted(declared)}; UPDATE "
        f"refold.generations SET schema_name = '{declared}' WHERE projection = "
        f"'{projection.name}' AND status = 'active'"
    )


async def others_named(connection: AsyncConnection, live: str, table: str) -> list[str]:
    """Other schemas with a table of that name, which somebody may take for the read model.

    Refold's own schemas and PostgreSQL's are left out.
    """
    statement = text(
        """
        SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relname = :table AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> :live
          AND n.nspname !~ '^(pg_|refold$|information_schema$|refold_[a-z0-9_]+_g[0-9]+$)'
        ORDER BY 1
        """
    )
    found = await connection.execute(statement, {"table": table, "live": live})
    return list(found.scalars())


async def missing_rights(connection: AsyncConnection, live: str) -> list[str]:
    """The rights that a new table needs and this role lacks, each with the statement for it."""
    statement = text(
        "SELECT has_schema_privilege(:live, 'CREATE'), "
        "has_database_privilege(current_database(), 'CREATE'), "
        "quote_ident(current_user), quote_ident(current_database())"
    )
    in_schema, in_database, role, database = (
        await connection.execute(statement, {"live": live})
    ).one()
    lacks = []
    if not in_database:
        lacks.append(
            f"role {role} may create no schemas, and each generation is built in one: "
            f"GRANT CREATE ON DATABASE {database} TO {role}"
        )
    if not in_schema:
        lacks.append(
            f"role {role} may put no table into schema {live!r}: "
            f"GRANT CREATE ON SCHEMA {quoted(live)} TO {role}"
        )
    return lacks


async def schema_exists(connection: AsyncConnection, schema: str) -> bool:
    """Whether there is a schema of that name."""
    found = text("SELECT count(*) FROM pg_namespace WHERE nspname = :name")
    return bool(await connection.scalar(found, {"name": schema}))


async def exists(connection: AsyncConnection, schema: str, table: str) -> bool:
    """Whether there is a table of that name."""
    name = quoted(schema, table)
    return (await connection.scalar(text("SELECT to_regclass(:name)"), {"name": name})) is not None


async def create_shadow(connection: AsyncConnection, projection: Projection, schema: str) -> None:
    """Makes the table bare, without keys and indexes, in a schema of its own.

    The schema is what keeps the names of its indexes and constraints the same in each generation.
    """
    columns = [_bare(column) for column in projection.table.columns]
    table = Table(projection.table.name, MetaData(), *columns, schema=schema)
    for check in [c for c in table.constraints if isinstance(c, CheckConstraint)]:
        table.constraints.remove(check)  # of a column's type
    await carry_out(
        connection,
        f"CREATE SCHEMA {quoted(schema)}",
        CreateTable(table),
        # Without a key, a publication of all tables would refuse to let rows be replaced in it.
        _identity(schema, projection.table.name, "FULL"),
    )


def _bare(column: Column[Any]) -> Column[Any]:
    """The column without keys and checks: `add_indexes` adds those."""
    kind = column.type
    if column.computed is not None:
        return Column(column.name, kind, column.computed._copy(), nullable=column.nullable)
    return Column(column.name, kind, nullable=column.nullable, server_default=column.server_default)


def _identity(schema: str, table: str, by: str) -> str:
    return f"ALTER TABLE {quoted(schema, table)} REPLICA IDENTITY {by}"


async def create_copy(
    connection: AsyncConnection, projection: Projection, schema: str, *, source: str
) -> None:
    """Makes a full copy of a table's rows, without keys and indexes, in a schema of its own."""
    await create_shadow(connection, projection, schema)
    table = projection.table.name
    names = ", ".join(quoted(column.name) for column in written_columns(projection.table))
    await connection.exec_driver_sql(
        f"INSERT INTO {quoted(schema, table)} ({names}) SELECT {names} FROM {quoted(source, table)}"
    )


async def is_indexed(connection: AsyncConnection, schema: str, table: str) -> bool:
    """Whether the table has its primary key."""
    found = await connection.scalar(
        text("SELECT count(*) FROM pg_index WHERE indrelid = to_regclass(:name) AND indisprimary"),
        {"name": quoted(schema, table)},
    )
    return bool(found)


async def declared(
    connection: AsyncConnection, projection: Projection, schema: str, *, refers: bool = True
) -> list[ExecutableDDLElement]:
    """The statements that add the keys, checks and indexes that the projection's table declares.

    Args:
        connection: In a transaction.
        projection: The projection.
        schema: Where the table is.
        refers: Whether foreign keys are among them. A copy that is only kept has none, as it must
            not stop anybody from deleting what it refers to.
    """
    table = physical(projection, schema)
    others = [
        constraint
        for constraint in sorted(_constraints(table), key=lambda c: str(c.name))
        if constraint is not table.primary_key and not isinstance(constraint, ForeignKeyConstraint)
    ]
    identity = _identity(schema, table.name, "DEFAULT").replace("%", "%%")
    foreign = await foreign_keys(connection, projection.table, schema) if refers else []
    # SQLAlchemy must not mark them as made: another attempt uses the same table object.
    keys = [AddConstraint(key, isolate_from_table=False) for key in (table.primary_key, *others)]
    return [
        keys[0],
        DDL(identity),  # type: ignore[no-untyped-call]
        *keys[1:],
        *foreign,
        *map(CreateIndex, sorted(table.indexes, key=lambda i: str(i.name))),
    ]


async def add_indexes(
    connection: AsyncConnection, projection: Projection, schema: str, *, refers: bool = True
) -> None:
    """Adds the keys, checks and indexes that the projection's table declares; see `declared`."""
    await carry_out(connection, *await declared(connection, projection, schema, refers=refers))


def _constraints(table: Table) -> list[Constraint]:
    """The constraints that PostgreSQL needs: a CHECK that only other databases need has a rule."""
    compiler = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    return [
        constraint
        for constraint in table.constraints
        if constraint._create_rule is None or constraint._create_rule(compiler)
    ]


async def analyze(connection: AsyncConnection, schema: str, table: str) -> None:
    """Gathers the planner's statistics; they stay with the table through a swap."""
    await connection.exec_driver_sql(f"ANALYZE {quoted(schema, table)}")


async def drop_shadow(connection: AsyncConnection, schema: str, table: str) -> None:
    """Drops a table that is not live, and its schema; fails if something is attached to it."""
    await carry_out(
        connection,
        f"DROP TABLE IF EXISTS {quoted(schema, table)} RESTRICT",
        f"DROP SCHEMA IF EXISTS {quoted(schema)} RESTRICT",
    )


async def move(connection: AsyncConnection, table: str, *, old: str, new: str) -> None:
    """Moves a table, with its indexes, from one schema to another."""
    await connection.exec_driver_sql(f"ALTER TABLE {quoted(old, table)} SET SCHEMA {quoted(new)}")


async def count_rows(connection: AsyncConnection, schema: str, table: str) -> int:
    """How many rows a table has, exactly."""
    counted = await connection.exec_driver_sql(f"SELECT count(*) FROM {quoted(schema, table)}")
    return int(counted.scalar_one())
