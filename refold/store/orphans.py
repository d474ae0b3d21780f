"""Schemas that no generation has, and generations without their table."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.generations import own_schema

# Read in one statement: a swap may move tables between two.
_LOOK = text(
    """
    WITH kept AS (
        SELECT projection, generation, status, schema_name, table_name,
               to_regclass(format('%I.%I', schema_name, table_name)) IS NOT NULL AS is_there
        FROM refold.generations WHERE status <> 'discarded'
    )
    SELECT 'generation' AS what, k.projection, k.generation, k.status, k.schema_name AS schema,
           k.table_name AS table, k.is_there, 0::bigint AS bytes
    FROM kept k
    UNION ALL
    SELECT 'schema', NULL, NULL, NULL, n.nspname::text, NULL, true, coalesce((
        SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
        WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'm')), 0)::bigint
    FROM pg_namespace n WHERE n.nspname ~ '^refold_.+_g[0-9]+$'
    ORDER BY 1, 2, 3, 5
    """
)


@dataclass(frozen=True)
class LostTable:
    """A generation whose table is gone.

    Attributes:
        projection: Whose.
        generation: Which one.
        status: Its status, such as ``active``.
        schema_name: Where its table should be.
        table_name: The table.
    """

    projection: str
    generation: int
    status: str
    schema_name: str
    table_name: str


@dataclass(frozen=True)
class OrphanSchema:
    """A schema named as those of generations are, of none that is kept.

    Attributes:
        name: The schema.
        bytes: What its tables take with their indexes.
    """

    name: str
    bytes: int


async def look(connection: AsyncConnection) -> tuple[list[LostTable], list[OrphanSchema]]:
    """What does not go together: generations without a table, schemas without a generation.

    A generation that is being built may not have its table yet.
    """
    rows = (await connection.execute(_LOOK)).all()
    kept = [row for row in rows if row.what == "generation"]
    owned = {row.schema for row in kept}
    owned |= {own_schema(row.projection, row.generation) for row in kept}
    lost = [
        LostTable(row.projection, row.generation, row.status, row.schema, row.table)
        for row in kept
        if not row.is_there and row.status != "building"
    ]
    orphans = [
        OrphanSchema(row.schema, row.bytes)
        for row in rows
        if row.what == "schema" and row.schema not in owned
    ]
    return lost, orphans
