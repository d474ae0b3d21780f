"""Who stands in a swap's way: holders of locks on the live table, and old snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Blocker:
    """A session, or a prepared transaction, that holds something up.

    Attributes:
        pid: Its process; None for a prepared transaction.
        user: Its role, as far as we may see it.
        query: Its latest statement, cut to 100 characters.
        state: Such as ``idle in transaction``.
        since: When its transaction began.
        vacuum: Whether it is an autovacuum worker, which yields to whoever waits a second.
    """

    pid: int | None
    user: str | None
    query: str | None
    state: str | None
    since: datetime | None
    vacuum: bool

    def __str__(self) -> str:
        who = "a prepared transaction" if self.pid is None else f"pid {self.pid}"
        if self.vacuum:
            return f"{who} (autovacuum)"
        parts = [self.user, self.state, f"since {self.since:%H:%M:%S %Z}" if self.since else None]
        known = ", ".join(part for part in parts if part)
        doing = f": {self.query}" if self.query else ""
        return who + (f" ({known})" if known else "") + doing


_SESSION = """
    a.pid, a.usename AS user, left(regexp_replace(a.query, '\\s+', ' ', 'g'), 100) AS query,
    a.state, a.xact_start AS since, coalesce(a.backend_type = 'autovacuum worker', false) AS vacuum
"""

# Which sessions have held a lock on one of the relations for some time. A reader whose statement
# is over in moments is nobody to wait for.
_HOLDERS = text(
    f"""
    SELECT DISTINCT ON (a.pid) {_SESSION}
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (CAST(:oids AS oid[]))
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.pid IS DISTINCT FROM pg_backend_pid()
      AND (l.pid IS NULL
           OR clock_timestamp() - a.xact_start > :milliseconds * interval '1 millisecond')
    ORDER BY a.pid
    """
)

_BLOCKERS = text(
    f"""
    SELECT {_SESSION}
    FROM unnest(pg_blocking_pids(:pid)) AS b LEFT JOIN pg_stat_activity a ON a.pid = b
    ORDER BY a.xact_start NULLS FIRST
    """
)

_OLDER = text(
    f"""
    SELECT {_SESSION}
    FROM pg_stat_activity a
    WHERE a.backend_xmin IS NOT NULL AND a.datname = current_database()
      AND a.pid <> pg_backend_pid()
      AND age(a.backend_xmin) > age(CAST(CAST(:horizon AS text) AS xid))
    ORDER BY a.xact_start
    """
)


async def holders(
    connection: AsyncConnection, oids: Sequence[int], *, older_than_milliseconds: float
) -> list[Blocker]:
    """Who has been holding a lock on one of the relations for at least so long."""
    parameters = {"oids": list(oids), "milliseconds": older_than_milliseconds}
    return _found(await connection.execute(_HOLDERS, parameters))


async def blockers_of(connection: AsyncConnection, pid: int) -> list[Blocker]:
    """Whom a waiting session is waiting for."""
    return _found(await connection.execute(_BLOCKERS, {"pid": pid}))


async def horizon(connection: AsyncConnection) -> str:
    """A mark: snapshots taken before now are older than it."""
    taken = await connection.scalar(text("SELECT CAST(CAST(pg_current_xact_id() AS xid) AS text)"))
    return str(taken)


async def older_snapshots(connection: AsyncConnection, mark: str) -> list[Blocker]:
    """Whose snapshots are older than a mark: to a REPEATABLE READ reader among them, rows written
    since are not there."""
    return _found(await connection.execute(_OLDER, {"horizon": mark}))


def _found(rows: Any) -> list[Blocker]:
    return [Blocker(**row._mapping) for row in rows]
