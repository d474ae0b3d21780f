"""Taking a row over from an attempt that stopped with its transaction open.

A worker that is frozen or cut off inside a transaction keeps its row locks as long as its
connection lives. Its successor's fence would wait behind that lock for ever, so the connection is
ended: what the old attempt had not committed is rolled back, and done again by its successor.
"""

from __future__ import annotations

import asyncio
import logging

import asyncpg
from sqlalchemy import (
    ColumnElement,
    Integer,
    Table,
    column,
    literal_column,
    select,
    table,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.database import server_error
from refold.store.silent_sessions import end_sessions

logger = logging.getLogger(__name__)

# No batch of ours takes as long; whoever holds the lock longer is not at work any more.
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0

_LOCKS = table("pg_locks", column("pid", Integer), column("locktype"), column("granted"))
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

    Raises:
        MissingRight: It is held by a session of another role, which this one may not end.
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
    for condition, only in ((holds, spares_work), (shares, True)):
        statement = select(_LOCKS.c.pid).distinct().join_from(row_table, _LOCKS, condition)
        async with engine.connect() as connection:
            found = (await connection.execute(statement.where(row))).scalars().all()
        ended = await end_sessions(engine, found, grace_seconds=_GRACE_SECONDS, only_silent=only)
        for pid in ended:
            logger.warning(
                "a stopped attempt held a row of %s: ended its connection (pid %s)",
                row_table.fullname,
                pid,
            )
        if ended:
            return
