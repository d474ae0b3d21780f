"""Taking a row over from an attempt that stopped with its transaction open.

A worker that is frozen or cut off inside a transaction keeps its row locks as long as its
connection lives. Its successor's fence would wait behind that lock for ever, so the connection is
ended: what the old attempt had not committed is rolled back, and done again by its successor.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import asyncpg
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Table,
    Text,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.database import server_error

logger = logging.getLogger(__name__)

# No batch of ours takes as long; whoever holds the lock longer is not at work any more.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0

_LOCKS = table("pg_locks", column("pid", Integer), column("locktype"), column("granted"))
_ACTIVITY = table(
    "pg_stat_activity",
    column("pid", Integer),
    column("state", Text),
    column("wait_event_type", Text),
    column("state_change", DateTime(timezone=True)),
)
_THIS_DATABASE: ColumnElement[int] = literal_column(
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


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
        row: Which row; nothing happens when there is none.
        spares_work: Whether others hold the row, too, while one statement of theirs takes long,
            such as the copy of a table: then only who is silent is ended. Of several that share
            the row, it is always only who is silent.
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
    # The row's xmax is the transaction that has changed or locked it and not ended. Of several
    # that share it, it is a number for all of them, which does not say who they are: then it is
    # whoever shares a row of this table and is silent.
    holds = (
        (_LOCKS.c.locktype == "transactionid")
        & _LOCKS.c.granted
        & (column("transactionid") == literal_column(f"{row_table.fullname}.xmax"))
    )
    shares = (
        (_LOCKS.c.locktype == "relation")
        & _LOCKS.c.granted
        & (column("mode") == "RowShareLock")
        & (column("relation") == literal_column(f"'{row_table.fullname}'::regclass"))
        # The locks are those of the whole server, and copies of a database have the same numbers.
        & (column("database") == _THIS_DATABASE)
    )
    # The server waits for it, between two statements or in one, rather than it for the server.
    since = func.clock_timestamp() - timedelta(seconds=_GRACE_SECONDS)
    awaited = (_ACTIVITY.c.state != "active") | (_ACTIVITY.c.wait_event_type == "Client")
    silent = awaited & (_ACTIVITY.c.state_change <= since)
    async with engine.begin() as connection:
        for condition, only in ((holds, spares_work), (shares, True)):
            statement = (
                select(_LOCKS.c.pid, func.pg_terminate_backend(_LOCKS.c.pid))
                .join_from(row_table, _LOCKS, condition)
                .join(_ACTIVITY, _ACTIVITY.c.pid == _LOCKS.c.pid)
                .where(row, *([silent] if only else []))
            )
            ended = (await connection.execute(statement)).all()
            for holder in ended:
                logger.warning(
                    "a stopped attempt held a row of %s: ended its connection (pid %s)",
                    row_table.fullname,
                    holder.pid,
                )
            if ended:
                return
