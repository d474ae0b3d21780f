"""Taking a row over from an attempt that stopped with its transaction open.

A worker that is frozen or cut off inside a transaction keeps its row locks as long as its
connection lives. Its successor's fence would wait behind that lock for ever, so the connection is
ended: what the old attempt had not committed is rolled back, and done again by its successor.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Table,
    Text,
    cast,
    column,
    func,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.database import server_error
from refold.errors import MissingRight

logger = logging.getLogger(__name__)

# No batch of ours takes as long; whoever holds the lock longer is not at work any more.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0

_LOCKS = table("pg_locks", column("pid", Integer), column("locktype"), column("granted"))
_ACTIVITY = table(
    "pg_stat_activity",
    column("pid", Integer),
    column("usename", Text),
    column("state", Text),
    column("wait_event_type", Text),
    column("state_change", DateTime(timezone=True)),
)
_THIS_DATABASE: ColumnElement[int] = literal_column(
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True)
class _Held:
    """What is known of rows that somebody holds: by whom, and in which table."""

    xmax: list[str]
    table: str


async def take_over(
    engine: AsyncEngine,
    row_table: Table,
    row: ColumnElement[bool],
    *,
    spares_work: bool = False,
) -> None:
    """Waits until the row can be locked; ends the connection of who holds it for too long.

    Args:
        engine: The database, as the role that the workers use: it may end its own connections.
        row_table: One of Refold's own tables.
        row: Which row, or rows; nothing happens when there is none.
        spares_work: Whether others hold the row, too, while one statement of theirs takes long,
            such as the copy of a table: then only who is silent is ended. Of several that share
            the row, it is always only who is silent.

    Raises:
        MissingRight: Somebody holds the row whom this role may not end; tried again, it may work.
    """
    clock = asyncio.get_running_loop().time
    patience = clock() + _GRACE_SECONDS
    while not await _is_free(engine, row_table, row):
        if clock() > patience:
            await _end_holder(engine, row_table, row, spares_work=spares_work)
            patience = clock() + _LOOK_AGAIN_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)


async def _is_free(engine: AsyncEngine, row_table: Table, row: ColumnElement[bool]) -> bool:
    statement = select(*row_table.primary_key.columns).where(row).with_for_update(nowait=True)
    try:
        async with engine.begin() as connection:
            await connection.execute(statement)
    except DBAPIError as error:
        if isinstance(server_error(error), asyncpg.LockNotAvailableError):
            return False
        raise
    return True


async def _end_holder(
    engine: AsyncEngine, row_table: Table, row: ColumnElement[bool], *, spares_work: bool
) -> None:
    denied = False
    # A role that was set (``ALTER ROLE … SET role``) has no power over sessions of the role that
    # logged in, which the workers' are; that one has.
    for login in (False, True):
        try:
            async with engine.begin() as connection:
                held = await _held(connection, row_table, row)
                if held is None:
                    return
                if login:
                    await connection.execute(text("SET LOCAL ROLE NONE"))
                if await _end(connection, row_table, held, spares_work=spares_work):
                    return
        except DBAPIError as error:
            if not isinstance(server_error(error), asyncpg.InsufficientPrivilegeError):
                raise
            denied = True
    await _require_right(engine, row_table, row, denied=denied)


async def _held(
    connection: AsyncConnection, row_table: Table, row: ColumnElement[bool]
) -> _Held | None:
    # A row's xmax is the transaction that has changed or locked it and not ended.
    name = row_table.fullname
    statement = select(
        literal_column(f"{name}.xmax::text", Text), literal_column(f"{name}.tableoid::text", Text)
    ).where(row)
    found = (await connection.execute(statement)).all()
    return _Held([row[0] for row in found], found[0][1]) if found else None


async def _end(
    connection: AsyncConnection, row_table: Table, held: _Held, *, spares_work: bool
) -> bool:
    # The server waits for it, between two statements or in one, rather than it for the server.
    since = func.clock_timestamp() - timedelta(seconds=_GRACE_SECONDS)
    awaited = (_ACTIVITY.c.state != "active") | (_ACTIVITY.c.wait_event_type == "Client")
    silent = awaited & (_ACTIVITY.c.state_change <= since)
    for condition, only in ((_holds(held), spares_work), (_shares(held), True)):
        statement = (
            select(_LOCKS.c.pid, func.pg_terminate_backend(_LOCKS.c.pid))
            .join(_ACTIVITY, _ACTIVITY.c.pid == _LOCKS.c.pid)
            .where(condition, *([silent] if only else []))
        )
        ended = (await connection.execute(statement)).all()
        for holder in ended:
            logger.warning(
                "a stopped attempt held a row of %s: ended its connection (pid %s)",
                row_table.fullname,
                holder.pid,
            )
        if ended:
            return True
    return False


def _holds(held: _Held) -> ColumnElement[bool]:
    return (
        (_LOCKS.c.locktype == "transactionid")
        & _LOCKS.c.granted
        & (cast(column("transactionid"), Text).in_(held.xmax))
    )


def _shares(held: _Held) -> ColumnElement[bool]:
    # Of several that share a row, xmax is a number for all of them, which does not say who they
    # are: then it is whoever shares a row of this table and is silent.
    return (
        (_LOCKS.c.locktype == "relation")
        & _LOCKS.c.granted
        & (column("mode") == "RowShareLock")
        & (cast(column("relation"), Text) == held.table)
        # The locks are those of the whole server, and copies of a database have the same numbers.
        & (column("database") == _THIS_DATABASE)
    )


async def _require_right(
    engine: AsyncEngine, row_table: Table, row: ColumnElement[bool], *, denied: bool
) -> None:
    """Says which right is missing, if somebody holds the row of whom nothing may be known."""
    async with engine.begin() as connection:
        held = await _held(connection, row_table, row)
        if held is None:
            return
        hidden = [] if denied else [_ACTIVITY.c.state.is_(None)]
        me: ColumnElement[str] = literal_column("session_user", Text)
        statement = (
            select(_LOCKS.c.pid, _ACTIVITY.c.usename, me)
            .join(_ACTIVITY, _ACTIVITY.c.pid == _LOCKS.c.pid)
            .where(_holds(held) | _shares(held), _ACTIVITY.c.usename != me, *hidden)
        )
        found = (await connection.execute(statement)).first()
    if found is not None:
        raise MissingRight(
            f"pid {found.pid} of role {found.usename!r} holds a row of {row_table.fullname}, and "
            f"role {found[2]!r} may neither see whether it is at work nor end it: let all workers "
            f"log in as one role, or GRANT {found.usename} TO {found[2]}, or GRANT "
            f"pg_signal_backend, pg_read_all_stats TO {found[2]}"
        )
