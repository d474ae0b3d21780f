"""Finds the rows that have what another row claims, by unique index or exclusion constraint."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Subquery, cast, literal, literal_column, or_, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.store.tables.rows import RowStore

# An index's expressions, with the operators by which two entries are the same. Columns that are
# only included have no operator.
_INDEX = text(
    """
    SELECT coalesce(pg_get_expr(x.indpred, x.indrelid), 'true') AS among, x.indnullsnotdistinct,
           array_agg(pg_get_indexdef(x.indexrelid, n, false) ORDER BY n) AS parts,
           array_agg(coalesce(
               (SELECT format('OPERATOR(%I.%s)', s.nspname, o.oprname) FROM pg_operator o
                JOIN pg_namespace s ON s.oid = o.oprnamespace WHERE o.oid = c.conexclop[n]),
               '=') ORDER BY n) AS operators
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    LEFT JOIN pg_constraint c ON c.conindid = x.indexrelid AND c.contype = 'x',
    LATERAL generate_series(1, x.indnkeyatts) AS n
    WHERE x.indrelid = to_regclass(:table) AND i.relname = :index
    GROUP BY x.indexrelid, x.indpred, x.indrelid, x.indnullsnotdistinct
    """
)


async def holders(
    connection: AsyncConnection, rows: RowStore, row: Row, index: str, *, most: int
) -> list[Key]:
    """The keys whose rows have what a row claims.

    Args:
        connection: In a transaction.
        rows: The table.
        row: The row that was refused.
        index: The index, or the constraint of the same name, that refuses it.
        most: How many keys at most.
    """
    found = (await connection.execute(_INDEX, {"table": rows.name, "index": index})).first()
    if found is None:
        return []
    own = [
        cast(literal(row[column.name], column.type), column.type).label(column.name)
        for column in rows.table.columns
    ]
    mine = _entries(select(*own).subquery("row"), rows, found, "m")
    others = _entries(rows.table, rows, found, "o")
    alike = ["IS NOT DISTINCT FROM"] * len(found.parts)
    operators = alike if found.indnullsnotdistinct else found.operators
    same = [f"o.p{n} {operator} m.p{n}" for n, operator in enumerate(operators)]
    keys = [f"k{n}" for n in range(len(rows.key_names))]
    condition: ColumnElement[bool] = literal_column(" AND ".join(same))
    statement = (
        select(*[others.c[name] for name in keys])
        .select_from(others.join(mine, condition))
        .where(or_(*[others.c[name].is_distinct_from(mine.c[name]) for name in keys]))
        .limit(most)
    )
    return [
        record[0] if len(record) == 1 else tuple(record)
        for record in await connection.execute(statement)
    ]


def _entries(source: Any, rows: RowStore, index: Any, name: str) -> Subquery:
    """The entries of an index for the rows of a table, with their keys."""
    keys = [
        column.label(f"k{n}") for n, column in enumerate(source.c[key] for key in rows.key_names)
    ]
    parts: list[ColumnElement[Any]] = [
        literal_column(f"({part})").label(f"p{n}") for n, part in enumerate(index.parts)
    ]
    among: ColumnElement[bool] = literal_column(f"({index.among})")
    return select(*keys, *parts).select_from(source).where(among).subquery(name)
