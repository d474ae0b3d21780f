"""Which rows have what another row claims: by unique indexes and exclusion constraints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.key import Key
from refold.projection import Row
from refold.store.read_models import quoted
from refold.store.rows import RowStore

# An index's expressions with the operators by which two entries are the same; those that are only
# included have none.
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
        most: At most so many.
    """
    found = (await connection.execute(_INDEX, {"table": rows.name, "index": index})).first()
    if found is None:
        return []
    names = [quoted(name) for name in rows.key_names]
    number = range(len(found.parts))
    parts = ", ".join(f"({part}) AS p{n}" for n, part in zip(number, found.parts, strict=True))
    same = " AND ".join(
        f"o.p{n} IS NOT DISTINCT FROM m.p{n}"
        if found.indnullsnotdistinct
        else f"o.p{n} {op} m.p{n}"
        for n, op in zip(number, found.operators, strict=True)
    )
    keys = ", ".join(f"{name} AS k{n}" for n, name in enumerate(names))
    other = " OR ".join(f"o.k{n} IS DISTINCT FROM m.k{n}" for n in range(len(names)))
    listed = ", ".join(f"o.k{n}" for n in range(len(names)))
    mine = f"jsonb_populate_record(NULL::{rows.name}, :row)"
    sql = (
        f"SELECT {listed} FROM (SELECT {keys}, {parts} FROM {rows.name} WHERE {found.among}) AS o, "
        f"(SELECT {keys}, {parts} FROM {mine} WHERE {found.among}) AS m "
        f"WHERE {same} AND ({other}) LIMIT {most}"
    )
    frozen = bindparam("row", await rows.freeze(connection, row), type_=JSONB)
    statement = text(_escaped(sql)).bindparams(frozen)
    return _keys((await connection.execute(statement)).all())


def _escaped(sql: str) -> str:
    """With one parameter, and colons that begin none: those of casts and of names."""
    return sql.replace(":", "\\:").replace("\\:row)", ":row)")


def _keys(found: Sequence[Any]) -> list[Key]:
    return [record[0] if len(record) == 1 else tuple(record) for record in found]
