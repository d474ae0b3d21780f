"""The foreign keys that a projection's table declares, for a copy of it in another schema."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, MetaData, Table, text
from sqlalchemy.exc import NoReferencedColumnError, NoReferencedTableError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import AddConstraint

# A read model's table is where its generation says; any other where it is found.
_PLACES = text(
    """
    SELECT place FROM (
        SELECT schema_name AS place, 1 AS rank FROM refold.generations
        WHERE status = 'active' AND table_name = :name
        UNION ALL SELECT 'public', 2 UNION ALL SELECT current_schema(), 3
    ) AS places
    WHERE to_regclass(format('%I.%I', place, CAST(:name AS text))) IS NOT NULL
    ORDER BY rank, place LIMIT 1
    """
)


async def foreign_keys(
    connection: AsyncConnection, table: Table, schema: str
) -> list[AddConstraint]:
    """The statements that add a table's foreign keys to its copy in a schema.

    They refer to what the declaration names, wherever the copy is. A key that refers to the table
    itself refers to the copy, so that it stays a reference to itself when the copy goes live.

    Args:
        connection: In a transaction.
        table: The table as it is declared.
        schema: The schema of the copy.
    """
    ordered = sorted(
        table.foreign_key_constraints, key=lambda key: (str(key.name), list(key.column_keys))
    )
    return [AddConstraint(await _moved(connection, table, key, schema)) for key in ordered]


async def _moved(
    connection: AsyncConnection, table: Table, declared: ForeignKeyConstraint, schema: str
) -> ForeignKeyConstraint:
    targets = [_target(key, table) for key in declared.elements]
    place, name, _ = targets[0]
    columns = [column for *_, column in targets]
    if (place, name) == (table.schema, table.name):
        place = schema
    elif place is None:
        place = await connection.scalar(_PLACES, {"name": name})
    metadata = MetaData()
    own = [Column(key.parent.name, key.parent.type) for key in declared.elements]
    if (place, name) == (schema, table.name):
        own += [Column(c, table.c[c].type) for c in columns if c not in {o.name for o in own}]
        target = copy = Table(table.name, metadata, *own, schema=schema)
    else:
        copy = Table(table.name, metadata, *own, schema=schema)
        kinds = [key.parent.type for key in declared.elements]
        referred = dict(zip(columns, kinds, strict=True))
        target = Table(name, metadata, *[Column(n, k) for n, k in referred.items()], schema=place)
    made = ForeignKeyConstraint(
        [copy.c[key.parent.name] for key in declared.elements],
        [target.c[column] for column in columns],
        name=declared.name,
        onupdate=declared.onupdate,
        ondelete=declared.ondelete,
        deferrable=declared.deferrable,
        initially=declared.initially,
        match=declared.match,
        **declared.dialect_kwargs,
    )
    copy.append_constraint(made)
    return made


def _target(key: ForeignKey, table: Table) -> tuple[str | None, str, str]:
    """The schema, table and column that a foreign key names; no schema when it names none."""
    try:
        column = key.column
    except (NoReferencedTableError, NoReferencedColumnError):
        *place, name, column_name = key.target_fullname.split(".")
        return ".".join(place) or table.metadata.schema, name, column_name
    assert isinstance(column.table, Table)
    return column.table.schema, column.table.name, column.name
