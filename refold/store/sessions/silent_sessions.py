"""Finds and ends sessions of workers that stopped inside a transaction.

A worker that is frozen or cut off keeps its locks as long as its connections live, and PostgreSQL
does not end these soon.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import asyncpg
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.errors import MissingRight
from refold.runtime.database import server_error

logger = logging.getLogger(__name__)

# A session is silent while the server waits for it, between two statements or within one. A role
# needs a right to see that of other roles' sessions.
_STATES = text(
    """
    SELECT a.pid, a.usename AS role, current_user AS own, a.state IS NULL AS hidden,
           (a.state <> 'active' OR a.wait_event_type = 'Client')
               AND a.state_change <= clock_timestamp() - :grace * interval '1 second' AS silent
    FROM pg_stat_activity a
    WHERE a.pid = ANY (:pids) AND a.pid <> pg_backend_pid() AND a.usename IS NOT NULL
    """
)

# Refold's sessions are known by their name and by what they have locked: rows of its own tables, or
# a table that is being built, which nobody else knows. A session that appends events locks the
# table of events only.
_STALLING = text(
    """
    SELECT DISTINCT holder.pid
    FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) waiting
    JOIN pg_stat_activity waiter ON waiter.pid = waiting.pid
    CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS holder(pid)
    JOIN pg_stat_activity a ON a.pid = holder.pid
    WHERE a.datname = current_database()
      AND a.application_name IN ('refold', current_setting('application_name'))
      AND waiter.application_name IN ('refold', current_setting('application_name'))
      AND EXISTS (
          SELECT FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
          JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE l.pid = holder.pid AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (n.nspname = 'refold' AND c.relname <> 'events' AND l.mode <> 'AccessShareLock'
                 OR EXISTS (
                     SELECT FROM refold.generations g WHERE g.status = 'building'
                       AND g.schema_name = n.nspname AND g.table_name = c.relname)))
    """
)

_READING = text(
    """
    SELECT DISTINCT a.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'relation' AND l.granted AND l.relation = :oid
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.pid <> pg_backend_pid()
      AND a.application_name IN ('refold', current_setting('application_name'))
    """
)

_END = text("SELECT pg_terminate_backend(:pid)")


async def stalling_sessions(connection: AsyncConnection) -> list[int]:
    """Refold's sessions for whose locks other sessions of Refold wait now."""
    return sorted((await connection.execute(_STALLING)).scalars())


async def reading_sessions(connection: AsyncConnection, oid: int) -> list[int]:
    """Refold's other sessions that have a lock on a table, however weak."""
    return sorted((await connection.execute(_READING, {"oid": oid})).scalars())


async def end_sessions(
    engine: AsyncEngine, pids: Collection[int], *, grace_seconds: float, only_silent: bool
) -> list[int]:
    """Ends sessions; those that are gone by now are passed over.

    Args:
        engine: The database.
        pids: Their processes.
        grace_seconds: A session that has said nothing for so long is silent.
        only_silent: Whether sessions that are at work are spared.

    Returns:
        The processes that were ended.

    Raises:
        MissingRight: No session was ended, and some belong to another role, whose sessions this
            role may not see or end.
    """
    if not pids:
        return []
    denied: MissingRight | None = None
    # First as the role that logged in: it may end its own sessions, even after a SET ROLE.
    for reset in ("SET LOCAL ROLE NONE", None):
        async with engine.begin() as connection:
            if reset is not None:
                await connection.execute(text(reset))
            try:
                return await _end(connection, pids, grace_seconds, only_silent=only_silent)
            except MissingRight as error:
                denied = denied or error
    assert denied is not None
    raise denied


async def _end(
    connection: AsyncConnection, pids: Collection[int], grace_seconds: float, *, only_silent: bool
) -> list[int]:
    found = await connection.execute(_STATES, {"pids": list(pids), "grace": grace_seconds})
    ended: list[int] = []
    denied: MissingRight | None = None
    for session in found.all():
        if session.hidden and only_silent:
            denied = denied or _missing(session, "may not see whether it is at work")
        elif session.silent or not only_silent:
            try:
                async with connection.begin_nested():
                    await connection.execute(_END, {"pid": session.pid})
            except DBAPIError as error:
                if not isinstance(server_error(error), asyncpg.InsufficientPrivilegeError):
                    raise
                denied = denied or _missing(session, "may not end it")
            else:
                ended.append(session.pid)
    if denied is not None and not ended:
        raise denied
    return ended


def _missing(session: Row[Any], what: str) -> MissingRight:
    role, own = session.role, session.own
    return MissingRight(
        f"a session of a stopped worker (pid {session.pid}, role {role!r}) holds others up, and "
        f"role {own!r} {what}: let all workers log in as one role, or GRANT {role} TO {own}, or "
        f"GRANT pg_signal_backend, pg_read_all_stats TO {own}"
    )
