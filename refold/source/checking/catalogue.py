"""What PostgreSQL's catalogue says of the tables that a source selects from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled.locks import WATCHED

TABLE, PARTITIONED, VIEW, MATERIALIZED, FOREIGN = "r", "p", "v", "m", "f"
KINDS = {
    TABLE: "table",
    PARTITIONED: "partitioned table",
    VIEW: "view",
    MATERIALIZED: "materialized view",
    FOREIGN: "foreign table",
}


@dataclass(frozen=True)
class Relation:
    """A table, as it is in the database.

    Attributes:
        name: As SQL writes it.
        kind: See `KINDS`.
        rows: About how many; -1 when nobody has counted.
        partitions: How many leaves it has.
        may_read: Whether this session's role may.
        writers: Its owner, and the roles that may insert.
        subscribed: Whether a subscription writes it.
        indexes: Their definitions.
        leading: The column that each index begins with; None for an expression.
        unique: The single columns that are unique.
    """

    name: str
    kind: str
    rows: int
    partitions: int
    may_read: bool
    writers: list[str]
    subscribed: bool
    indexes: list[str] = field(default_factory=list)
    leading: list[str | None] = field(default_factory=list)
    unique: list[str] = field(default_factory=list)


_RELATION = text(
    """
    SELECT c.relkind::text AS kind,
        coalesce((SELECT sum(leaf.reltuples) FROM pg_partition_tree(c.oid) t
            JOIN pg_class leaf ON leaf.oid = t.relid WHERE t.isleaf), c.reltuples)::bigint AS rows,
        (SELECT count(*) FROM pg_partition_tree(c.oid) t WHERE t.isleaf AND t.relid <> c.oid)
            AS partitions,
        has_schema_privilege(c.relnamespace, 'USAGE')
            AND has_any_column_privilege(c.oid, 'SELECT') AS may_read,
        ARRAY(SELECT DISTINCT role FROM (
            SELECT pg_get_userbyid(c.relowner)::text AS role
            UNION ALL
            SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee)::text END
            FROM aclexplode(c.relacl) a WHERE a.privilege_type = 'INSERT') r ORDER BY 1) AS writers,
        EXISTS (SELECT FROM pg_subscription_rel s WHERE s.srrelid = c.oid) AS subscribed
    FROM pg_class c WHERE c.oid = to_regclass(:name)
    """
)
_INDEXES = text(
    """
    SELECT pg_get_indexdef(i.indexrelid) AS definition, a.attname::text AS leading,
           i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AS is_unique
    FROM pg_index i
    LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(:name) AND i.indisvalid ORDER BY 1
    """
)


async def relation(connection: AsyncConnection, name: str) -> Relation | None:
    """A table, by the name that SQL writes; None when there is none."""
    row = (await connection.execute(_RELATION, {"name": name})).one_or_none()
    if row is None:
        return None
    indexes = (await connection.execute(_INDEXES, {"name": name})).all()
    return Relation(
        name,
        row.kind,
        row.rows,
        row.partitions,
        row.may_read,
        list(row.writers),
        row.subscribed,
        [index.definition for index in indexes],
        [index.leading for index in indexes],
        [index.leading for index in indexes if index.is_unique and index.leading is not None],
    )


@dataclass(frozen=True)
class NumberSequence:
    """A sequence that positions may come from.

    Attributes:
        name: As SQL writes it.
        cache: How many numbers a session takes at a time.
        increment: By how much it grows.
    """

    name: str
    cache: int
    increment: int


_SEQUENCES = text(
    f"""{WATCHED}
    SELECT s.seqrelid::regclass::text AS name, s.seqcache AS cache, s.seqincrement AS increment
    FROM pg_sequence s WHERE s.seqrelid IN (SELECT oid FROM watched) ORDER BY 1
    """
).bindparams(
    bindparam("tables", type_=ARRAY(Text)),
    bindparam("sequences", type_=ARRAY(Text)),
)


async def sequences(
    connection: AsyncConnection, watched: dict[str, list[str]]
) -> list[NumberSequence]:
    """The sequences among the relations that are watched."""
    rows = await connection.execute(_SEQUENCES, watched)
    return [NumberSequence(row.name, row.cache, row.increment) for row in rows]


_MISSING = text(
    "SELECT name FROM unnest(CAST(:names AS text[])) AS name WHERE to_regclass(name) IS NULL"
).bindparams(bindparam("names", type_=ARRAY(Text)))


async def missing(connection: AsyncConnection, names: Sequence[str]) -> list[str]:
    """Those of these relations that are not there."""
    found = await connection.execute(_MISSING, {"names": list(names)})
    return list(found.scalars())
