"""Who stands in a run's way: holders of locks that it waits for, and old snapshots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.sessions.event_readers import IS_MARKED


@dataclass(frozen=True)
class Blocker:
    """A session, or a prepared transaction, that holds something up.

    Attributes:
        pid: Its process; None for a prepared transaction.
        user: Its role, as far as the worker's role may see it.
        query: Its latest statement, cut to 100 characters.
        state: Such as ``idle in transaction``.
        since: When its transaction began.
        vacuum: Whether it is an autovacuum worker, which yields to a lock that waits for a second.
        application: What the session calls itself.
        gid: The name of a prepared transaction.
    """

    pid: int | None
    user: str | None
    query: str | None
    state: str | None
    since: datetime | None
    vacuum: bool
    application: str | None = None
    gid: str | None = None

    def __str__(self) -> str:
        who = f"prepared transaction {self.gid!r}" if self.pid is None else f"pid {self.pid}"
        if self.vacuum:
            return f"{who} (autovacuum)"
        parts = [
            self.user,
            self.state,
            f"since {self.since:%H:%M:%S %Z}" if self.since else None,
            f"application {self.application}" if self.application else None,
        ]
        known = ", ".join(part for part in parts if part)
        doing = f": {self.query}" if self.query else ""
        return who + (f" ({known})" if known else "") + doing


_SESSION = """
    a.pid, a.usename AS user, left(regexp_replace(a.query, '\\s+', ' ', 'g'), 100) AS query,
    a.state, a.xact_start AS since, coalesce(a.backend_type = 'autovacuum worker', false) AS vacuum,
    a.application_name AS application
"""

# For a lock l that no session holds: the transaction's own lock says which transaction it is.
_PREPARED = """
    SELECT NULL::int AS pid, p.owner AS user, NULL::text AS query, NULL::text AS state,
           p.prepared AS since, false AS vacuum, NULL::text AS application, p.gid
    FROM pg_prepared_xacts p
    JOIN pg_locks x ON x.locktype = 'transactionid' AND x.pid IS NULL
         AND x.transactionid = p.transaction AND x.virtualtransaction = l.virtualtransaction
"""

# The sessions that have held a lock on one of the relations for some time. A reader whose
# statement is over in moments need not be waited for.
_HOLDERS = text(
    f"""
    WITH held AS (
        SELECT DISTINCT l.pid, l.virtualtransaction FROM pg_locks l
        WHERE l.locktype = 'relation' AND l.granted AND l.relation = ANY (CAST(:oids AS oid[]))
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.pid IS DISTINCT FROM pg_backend_pid()
    )
    SELECT {_SESSION}, NULL::text AS gid
    FROM pg_stat_activity a WHERE a.pid IN (SELECT pid FROM held)
      AND clock_timestamp() - a.xact_start > :milliseconds * interval '1 millisecond'
    UNION ALL
    SELECT found.* FROM held l, LATERAL ({_PREPARED}) AS found WHERE l.pid IS NULL
    ORDER BY 1
    """
)

# A prepared transaction has no session, and blocks as process 0.
_BLOCKERS = text(
    f"""
    WITH waiting AS (
        SELECT pid, pg_blocking_pids(pid) AS by FROM pg_stat_activity
        WHERE pid = ANY (CAST(CAST(:pids AS text) AS int[])) AND wait_event_type = 'Lock'
    )
    SELECT DISTINCT {_SESSION}, NULL::text AS gid
    FROM waiting, unnest(by) AS b JOIN pg_stat_activity a ON a.pid = b
    WHERE b <> ALL (CAST(CAST(:pids AS text) AS int[]))
    UNION
    SELECT found.* FROM waiting JOIN pg_locks w ON w.pid = waiting.pid AND NOT w.granted
    JOIN pg_locks l ON l.granted AND l.pid IS NULL
     AND (l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
          l.classid, l.objid, l.objsubid)
         IS NOT DISTINCT FROM
         (w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid,
          w.classid, w.objid, w.objsubid),
    LATERAL ({_PREPARED}) AS found
    WHERE 0 = ANY (by)
    ORDER BY 5 NULLS FIRST
    """
)

_OLDER = text(
    f"""
    SELECT {_SESSION}
    FROM pg_stat_activity a
    WHERE a.backend_xmin IS NOT NULL AND a.datname = current_database()
      AND a.pid <> pg_backend_pid()
      AND age(a.backend_xmin) > age(CAST(CAST(:horizon AS text) AS xid))
      AND NOT {IS_MARKED}
    ORDER BY a.xact_start
    """
)


async def holders(
    connection: AsyncConnection, oids: Sequence[int], *, older_than_milliseconds: float
) -> list[Blocker]:
    """The transactions that have held a lock on one of the relations for at least so long."""
    parameters = {"oids": list(oids), "milliseconds": older_than_milliseconds}
    return _found(await connection.execute(_HOLDERS, parameters))


async def blockers_of(connection: AsyncConnection, *pids: int) -> list[Blocker]:
    """The transactions that these sessions wait for, except those of the sessions themselves."""
    # As text: of an array, the driver looks up the type on each new connection.
    listed = f"{{{','.join(map(str, pids))}}}"
    return _found(await connection.execute(_BLOCKERS, {"pids": listed}))


async def horizon(connection: AsyncConnection) -> str:
    """A mark: snapshots taken before now are older than it."""
    taken = await connection.scalar(text("SELECT CAST(CAST(pg_current_xact_id() AS xid) AS text)"))
    return str(taken)


async def older_snapshots(connection: AsyncConnection, mark: str) -> list[Blocker]:
    """The sessions whose snapshots are older than a mark.

    A REPEATABLE READ reader among them does not see rows written since. Sessions that read events
    only (`event_readers`) are left out.
    """
    return _found(await connection.execute(_OLDER, {"horizon": mark}))


def _found(rows: Any) -> list[Blocker]:
    return [Blocker(**row._mapping) for row in rows]
