"""Whether the database has the types that a projection's columns are declared with."""

from __future__ import annotations

from sqlalchemy import ARRAY, Column, Enum, TypeDecorator, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.runtime.database import DIALECT, server_error
from refold.runtime.judgement import Judgement, judge
from refold.store.tables.read_models import quoted


async def unusable(connection: AsyncConnection, projection: Projection) -> str | None:
    """Why PostgreSQL cannot have a column as it is declared, in words; None when it can.

    Args:
        connection: In a transaction, which stays as it is.
        projection: Whose table.
    """
    columns = list(projection.table.columns)
    if await _refused(connection, columns) is None:
        return await _lacking_labels(connection, columns)
    for column in columns:
        refused = await _refused(connection, [column])
        if refused is not None:
            return (
                f"column {column.name!r}: expected a type that the database has, got "
                f"{_written(column)}: {refused}"
                f"{await _elsewhere(connection, column) or _hint(column)}"
            )
    return None


def _written(column: Column[object]) -> str:
    return str(column.type.compile(dialect=DIALECT)).strip()


async def _refused(connection: AsyncConnection, columns: list[Column[object]]) -> str | None:
    # The collation is part of what SQLAlchemy writes, but not of a type in a cast.
    nothing = ", ".join(f"CAST(NULL AS {_plain(column)}){_collated(column)}" for column in columns)
    try:
        async with connection.begin_nested():
            await connection.exec_driver_sql(f"SELECT {nothing}")
    except DBAPIError as error:
        found = server_error(error)
        if found is None or judge(found) is not Judgement.FINAL:
            raise
        return str(found).partition("\n")[0]
    return None


def _plain(column: Column[object]) -> str:
    return _written(column).partition(" COLLATE ")[0]


def _collated(column: Column[object]) -> str:
    collation = getattr(column.type, "collation", None)
    return "" if collation is None else f" COLLATE {quoted(collation)}"


def _named(kind: object) -> object:
    """The type inside arrays and decorators."""
    if isinstance(kind, ARRAY):
        return _named(kind.item_type)
    return _named(kind.load_dialect_impl(DIALECT)) if isinstance(kind, TypeDecorator) else kind


async def _elsewhere(connection: AsyncConnection, column: Column[object]) -> str:
    """Says which schemas outside the ``search_path`` have such a type; empty if none has it."""
    name = getattr(_named(column.type), "name", None) or _written(column).split("(")[0].lower()
    statement = text(
        "SELECT string_agg(DISTINCT typnamespace::regnamespace::text, ', ') FROM pg_type "
        "WHERE typname = :name AND NOT pg_type_is_visible(oid)"
    )
    schemas = await connection.scalar(statement, {"name": str(name)})
    return (
        f"; there is one in schema {schemas}: declare the type's schema, or give the address "
        f"?options=-c%20search_path%3Dpublic%2C{schemas}"
        if schemas
        else ""
    )


def _hint(column: Column[object]) -> str:
    kind = _named(column.type)
    if isinstance(kind, Enum) and kind.native_enum:
        labels = ", ".join("'" + label.replace("'", "''") + "'" for label in kind.enums)
        return f"; CREATE TYPE {_type_name(kind)} AS ENUM ({labels}), or set native_enum=False"
    if isinstance(kind, postgresql.DOMAIN):
        over = kind.data_type.compile(dialect=DIALECT)
        return f"; CREATE DOMAIN {_type_name(kind)} AS {over}"
    return ""


def _type_name(kind: Enum | postgresql.DOMAIN) -> str:
    return quoted(*([kind.schema] if kind.schema else []), str(kind.name))


_LABELS = text("SELECT enumlabel::text FROM pg_catalog.pg_enum WHERE enumtypid = to_regtype(:name)")


async def _lacking_labels(connection: AsyncConnection, columns: list[Column[object]]) -> str | None:
    for column in columns:
        kind = _named(column.type)
        if not isinstance(kind, Enum) or not kind.native_enum:
            continue
        name = _type_name(kind)
        labels = set((await connection.execute(_LABELS, {"name": name})).scalars())
        lacking = [label for label in kind.enums if label not in labels]
        if lacking:
            return (
                f"column {column.name!r}: expected the type {name} to have the label(s) "
                f"{', '.join(map(repr, lacking))}; ALTER TYPE {name} ADD VALUE …"
            )
    return None
