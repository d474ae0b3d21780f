"""SQLAlchemy's connection over asyncpg's, on which commands are not prepared.

To prepare a statement and to close it are round trips of their own, worth it for what is asked
again. A command such as ``CREATE TABLE`` or ``SAVEPOINT`` gains nothing by it, and most are never
heard again: their names have the number of a generation or of a savepoint.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable
from typing import Any

import asyncpg
from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_cursor,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.util import await_only

_COMMAND = re.compile(
    r"\s*(ALTER|ANALYZE|COMMENT|CREATE|DROP|GRANT|LOCK|RELEASE|REVOKE|ROLLBACK|SAVEPOINT|SET"
    r"|TRUNCATE)\s",
    re.IGNORECASE,
)


class _Cursor(AsyncAdapt_asyncpg_cursor):
    __slots__ = ()

    async def _prepare_and_execute(self, operation: Any, parameters: Any) -> None:
        if parameters or self.server_side or _COMMAND.match(operation) is None:
            await super()._prepare_and_execute(operation, parameters)  # type: ignore[no-untyped-call]
            return
        adapted = self._adapt_connection
        async with adapted._execute_mutex:
            if adapted._transaction is None:
                await adapted._start_transaction()  # type: ignore[no-untyped-call]
            driver: Any = self._connection
            try:
                await driver.execute(operation)
            except Exception as error:
                self._handle_exception(error)  # type: ignore[no-untyped-call]
            self._description, self._rows, self._rowcount = None, deque(), -1


class _Connection(AsyncAdapt_asyncpg_connection):
    __slots__ = ()
    _cursor_cls = _Cursor


def adapted(
    dbapi: Any, connecting: Awaitable[asyncpg.Connection[Any]], *, prepared: int
) -> AsyncAdapt_asyncpg_connection:
    """A connection as SQLAlchemy's engine has it; called where it opens one.

    Args:
        dbapi: The dialect's.
        connecting: Opens the driver's own.
        prepared: How many prepared statements are kept; 0 for none.
    """
    driver: Any = connecting
    return await_only(_Connection.create(dbapi, driver, prepared_statement_cache_size=prepared))


async def carry_out(connection: AsyncConnection, statement: ExecutableDDLElement) -> None:
    """Executes a command that SQLAlchemy has made, as text.

    Given as it is, it would have SQLAlchemy prepare anew whatever any connection has prepared.
    """
    await connection.exec_driver_sql(str(statement.compile(dialect=connection.dialect)))
