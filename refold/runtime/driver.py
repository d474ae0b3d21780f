"""asyncpg's connection, which can be cancelled at any moment: while it is opened, and in writes.

And SQLAlchemy's over it, on which commands are not prepared. To prepare a statement and to close it
are round trips of their own, worth it for what is asked again. A command such as ``CREATE TABLE``
or ``SAVEPOINT`` gains nothing by it, and most are never heard again: their names have the number of
a generation or of a savepoint.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections import deque
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg import connect_utils
from sqlalchemy.dialects.postgresql.asyncpg import (
    AsyncAdapt_asyncpg_connection,
    AsyncAdapt_asyncpg_cursor,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.util import await_only

_ENDING_SECONDS = 2.0
"""A cancelled statement has so long to end in good order; then its connection is closed."""

_READ_BYTES = 64 << 10

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[Any]
else:
    _Connection = asyncpg.Connection


class _Upgrade(connect_utils.TLSUpgradeProto):
    """asyncpg's first exchange, of which nothing is left behind when it is given up.

    asyncpg's own, whose connection is lost before it is waited for (cancelled, out of time), has an
    exception that nobody takes, and the event loop logs it.
    """

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncpg's; who waits for the answer is told as before."""
        super().connection_lost(exc)
        if not self.on_data.cancelled():
            self.on_data.exception()


# asyncpg looks the name up for each connection that it opens, those of SQLAlchemy among them.
connect_utils.TLSUpgradeProto = _Upgrade  # type: ignore[misc]


class _Reading(asyncio.BufferedProtocol):
    """asyncpg's protocol, fed from one buffer that is kept.

    As asyncio reads for other protocols, it asks for 256 kB for each answer and gives all but its
    length back: the heap of a process that lives long gets so many holes that it grows.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._buffer = memoryview(bytearray(_READ_BYTES))

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._inner.data_received(bytes(self._buffer[:nbytes]))

    def connection_lost(self, exc: Exception | None) -> None:
        self._inner.connection_lost(exc)

    def eof_received(self) -> Any:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def read_into_one_buffer(connection: asyncpg.Connection[Any]) -> None:
    """Lets an open connection read into a buffer of its own, 64 kB at a time."""
    transport = getattr(connection, "_transport", None)
    if isinstance(transport, asyncio.Transport):
        transport.set_protocol(_Reading(transport.get_protocol()))


class _Stopped(Exception):
    """Ends a statement whose rows are not wanted any more, in a way that asyncpg is ready for."""


class _Rows:
    """Rows until they are stopped; from the first on again, if asyncpg prepares anew."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows = rows
        self.stopped = self.sent = False

    def __iter__(self) -> Iterator[Any]:
        self.sent = False
        for row in self._rows:
            if self.stopped:
                raise _Stopped
            yield row
        self.sent = True


class DriverConnection(_Connection):
    """asyncpg's, of which `executemany` ends when it is cancelled.

    asyncpg's own waits for ever for an answer if it is cancelled while it still sends rows: the
    server waits for the rest of them (MagicStack/asyncpg's `bind_execute_many`).
    """

    async def executemany(
        self, command: str, args: Iterable[Any], *, timeout: float | None = None
    ) -> None:
        """As asyncpg's; one that cannot end in good order when it is cancelled closes all."""
        rows = _Rows(args)
        work = asyncio.ensure_future(super().executemany(command, rows, timeout=timeout))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            rows.stopped = True
            try:
                if rows.sent:  # it waits for the answer alone, and asks the server to stop
                    work.cancel()
                await asyncio.wait({work}, timeout=_ENDING_SECONDS)
            finally:
                if not work.done():
                    self.terminate()
                    work.cancel()
                work.add_done_callback(_seen)
            raise

    async def copy_to_table(self, *given: Any, **options: Any) -> str:
        """As asyncpg's; nothing is left behind where it cannot begin."""
        with self._no_answer_left():
            return await super().copy_to_table(*given, **options)

    async def copy_records_to_table(self, *given: Any, **options: Any) -> str:
        """As asyncpg's; nothing is left behind where it cannot begin."""
        with self._no_answer_left():
            return await super().copy_records_to_table(*given, **options)

    @contextmanager
    def _no_answer_left(self) -> Iterator[None]:
        """Takes the answer that a COPY leaves behind which cannot begin.

        asyncpg makes a future for the answer before it looks whether it is connected. If the
        session has just been ended, nobody waits for that future, and the event loop logs it.
        """
        try:
            yield
        except asyncpg.InternalClientError:
            for held in gc.get_referents(getattr(self, "_protocol", None)):
                if isinstance(held, asyncio.Future):
                    held.add_done_callback(_seen)
            raise


def _seen(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()


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


class _Adapted(AsyncAdapt_asyncpg_connection):
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
    return await_only(_Adapted.create(dbapi, driver, prepared_statement_cache_size=prepared))


async def carry_out(connection: AsyncConnection, *statements: ExecutableDDLElement | str) -> None:
    """Executes commands, one after the other, in one round trip.

    Those that SQLAlchemy has made are executed as text. Given as they are, they would have it
    prepare anew whatever any connection has prepared.

    Args:
        connection: Of an engine of `refold.runtime.database`.
        statements: Each begins with its verb, as text or as SQLAlchemy has made it.
    """
    dialect = connection.dialect
    made = (one if isinstance(one, str) else one.compile(dialect=dialect) for one in statements)
    await connection.exec_driver_sql(";\n".join(map(str, made)))
