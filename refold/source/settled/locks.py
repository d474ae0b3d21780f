"""Settling by locks: whoever has drawn a position holds a lock until its transaction ends.

An INSERT locks its table, and `nextval` its sequence (both ROW EXCLUSIVE), before anybody else can
draw a higher position. Both locks are kept to the end of the transaction, over savepoints that are
rolled back, and by prepared transactions. So: read the highest position, *then* see who holds such
a lock; once all of those have ended, everything up to that position is committed or never will be.

An INSERT straight into a partition locks that partition only, and one through a view the view's
tables, so all of these are watched. To watch more can only make a reader wait, never miss an event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import ARRAY, Table, Text, bindparam, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.source.settled.strategy import Writer, last_position

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource

WATCHED = """
    WITH RECURSIVE held (oid) AS (
        SELECT name::regclass::oid FROM unnest(CAST(:tables AS text[])) AS name
        UNION
        SELECT next.oid FROM held, LATERAL (
            -- Partitions, and tables that inherit.
            SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = held.oid
            UNION ALL
            -- What a view reads.
            SELECT d.refobjid FROM pg_rewrite r
            JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
                AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> held.oid
            WHERE r.ev_class = held.oid
        ) AS next
    ), watched (oid) AS (
        SELECT oid FROM held
        UNION
        -- Sequences that defaults draw from, and those of identity columns.
        SELECT s.oid FROM held JOIN pg_attrdef a ON a.adrelid = held.oid
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
            AND d.refclassid = 'pg_class'::regclass
        JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
        UNION
        SELECT s.oid FROM held JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass
            AND d.refobjid = held.oid AND d.classid = 'pg_class'::regclass
            AND d.deptype IN ('a', 'i')
        JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
        UNION
        SELECT name::regclass::oid FROM unnest(CAST(:sequences AS text[])) AS name
    )
"""
"""The relations whose locks tell who may still append, as ``watched (oid)``."""

_WRITERS = """
    SELECT l.virtualtransaction AS transaction, l.pid,
           min(coalesce(a.xact_start, p.prepared)) AS since,
           min(coalesce(a.application_name, 'prepared ' || p.gid)) AS name
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_locks x ON x.pid IS NULL AND x.locktype = 'transactionid'
         AND x.virtualtransaction = l.virtualtransaction AND l.pid IS NULL
    LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'RowExclusiveLock'
      AND l.relation IN (SELECT oid FROM watched)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    GROUP BY l.virtualtransaction, l.pid
"""

_NAMES = (
    bindparam("tables", type_=ARRAY(Text)),
    bindparam("sequences", type_=ARRAY(Text)),
)
_IN_ANY = text(f"{WATCHED} {_WRITERS}").bindparams(*_NAMES)
# Refold's own table has neither partitions nor views: its locks are looked up at every turn of a
# live projection.
_IN_OWN = (
    "WITH watched (oid) AS (VALUES (to_regclass('refold.events')::oid), "
    f"(to_regclass('refold.events_position_seq')::oid)) {_WRITERS}"
)
_PREPARER = postgresql.dialect().identifier_preparer  # type: ignore[no-untyped-call]


class Locks:
    """The head is settled when nobody holds a lock that whoever draws a position takes.

    It watches the tables that the source selects from, their partitions, the tables behind views,
    and the sequences of their columns.

    It does not hold where `nextval` runs in a transaction of its own (a sequence with CACHE above
    1, pools of positions drawn in advance), nor on a logical-replication subscriber or a standby.

    Args:
        sequences: Sequences that positions are drawn from, if no column's default names them.
        tables: The tables that are watched, as SQL writes them; None for those of the select.
    """

    def __init__(
        self, *, sequences: Sequence[str] = (), tables: Sequence[str] | None = None
    ) -> None:
        self.sequences = tuple(sequences)
        self.tables = None if tables is None else tuple(tables)

    async def highest(self, connection: AsyncConnection, source: EventSource) -> int:
        """The highest position that can be seen."""
        return await last_position(connection, source)

    async def writers(self, connection: AsyncConnection, source: EventSource) -> list[Writer]:
        """The open transactions that hold such a lock."""
        if source.is_own:
            found = await (await raw(connection)).fetch(_IN_OWN)
            return [Writer(*record) for record in found]
        rows = await connection.execute(_IN_ANY, self.watched(source))
        return [Writer(row.transaction, row.pid, row.since, row.name) for row in rows]

    def watched(self, source: EventSource) -> dict[str, list[str]]:
        """The parameters of `WATCHED`."""
        tables = self.tables or [written(table) for table in source.tables]
        return {"tables": list(tables), "sequences": list(self.sequences)}


def written(table: Table) -> str:
    """A table's name as SQL writes it."""
    name: str = _PREPARER.format_table(table)
    return name
