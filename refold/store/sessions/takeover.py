"""Takes a row over from an attempt that stopped with its transaction open.

A worker that is frozen or cut off inside a transaction keeps its row locks as long as its
connection lives. Its successor's fence would wait behind that lock for ever, so the connection is
ended. What the old attempt had not committed is rolled back, and its successor does it again.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    Text,
    cast,
    column,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.runtime.database import autocommit, server_error
from refold.store.sessions.silent_sessions import end_sessions

logger = logging.getLogger(__name__)

# No batch takes this long: a session that holds the lock longer is not at work any more.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0

_LOCKS = table("pg_locks", column("pid", Integer), column("locktype"), column("granted"))
_THIS_DATABASE: ColumnElement[int] = literal_column(
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True)
class _Held:
    """Rows that somebody holds: the transactions that hold them, and the table."""

    xmax: list[str]
    table: str


async def take_over(
    engine: AsyncEngine,
    row_table: Table,
    row: ColumnElement[bool],
    *,
    spares_work: bool = False,
) -> None:
    """Waits until the row can be locked; ends the connection of a session that holds it too long.

    Args:
        engine: The database, as the role that the workers use: it may end its own connections.
        row_table: One of Refold's own tables.
        row: The condition for the row or rows; nothing happens when there are none.
        spares_work: Whether a session may hold the row for one long statement, such as the copy of
            a table: then a session is ended only if it is silent. When several sessions share the
            row, a session is never ended unless it is silent.

    Raises:
        MissingRight: This role may not end the session that holds the row. A later try may succeed.
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
    # Each step begins so: a transaction around one statement would be two round trips more.
    alone = autocommit(engine)
    try:
        async with alone.connect() as connection:
            await connection.execute(statement)
    except DBAPIError as error:
        if isinstance(server_error(error), asyncpg.LockNotAvailableError):
            return False
        raise
    return True


async def _end_holder(
    engine: AsyncEngine, row_table: Table, row: ColumnElement[bool], *, spares_work: bool
) -> None:
    async with engine.begin() as connection:
        held = await _held(connection, row_table, row)
        if held is None:
            return
        holding = await _sessions(connection, _holds(held))
        sharing = await _sessions(connection, _shares(held))
    for sessions, only_silent in ((holding, spares_work), (sharing, True)):
        ended = await end_sessions(
            engine, sessions, grace_seconds=_GRACE_SECONDS, only_silent=only_silent
        )
        for pid in ended:
            logger.warning(
                "a stopped attempt held a row of %s: ended its connection (pid %s)",
                row_table.fullname,
                pid,
            )
        if ended:
            return


async def _sessions(connection: AsyncConnection, holds: ColumnElement[bool]) -> list[int]:
    statement = select(_LOCKS.c.pid).where(holds, _LOCKS.c.pid.is_not(None)).distinct()
    return list((await connection.execute(statement)).scalars())


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


def _holds(held: _Held) -> ColumnElement[bool]:
    return (
        (_LOCKS.c.locktype == "transactionid")
        & _LOCKS.c.granted
        & (cast(column("transactionid"), Text).in_(held.xmax))
    )


def _shares(held: _Held) -> ColumnElement[bool]:
    # When several sessions share a row, xmax is one number for all of them and does not name them:
    # then every session that shares a row of this table is looked at.
    return (
        (_LOCKS.c.locktype == "relation")
        & _LOCKS.c.granted
        & (column("mode") == "RowShareLock")
        & (cast(column("relation"), Text) == held.table)
        # The locks are those of the whole server, and copies of a database have the same numbers.
        & (column("database") == _THIS_DATABASE)
    )
