"""Why a run should hold back: what the database says of its load."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.errors import InvalidRequest
from refold.requests.limits import Throttle
from refold.runtime.database import DATABASE_ERRORS, raw, server_error
from refold.runtime.judgement import Judgement, judge, told
from refold.runtime.sessions import is_pooled

_LAG = text(
    "SELECT max(extract(epoch FROM replay_lag))::float8 FROM pg_stat_replication "
    "WHERE state = 'streaming'"
)
_SESSIONS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
    "AND backend_type = 'client backend' "
    "AND application_name NOT IN ('refold', current_setting('application_name'))"
)
_WAL = text("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
# Below this, the bytes between two looks say little of a rate.
_LEAST_SECONDS = 0.5
_EXPRESSION_MILLISECONDS = 1000


@dataclass
class _Wal:
    """Where the log of the server stood, and when."""

    at: float
    bytes: float


async def _written(connection: AsyncConnection) -> _Wal:
    return _Wal(time.monotonic(), float(await connection.scalar(_WAL) or 0))


class Pressure:
    """Looks at the load of a database again and again.

    Args:
        engine: The database.
        throttle: What counts as too much.
    """

    def __init__(self, engine: AsyncEngine, throttle: Throttle) -> None:
        self._engine = engine
        self._throttle = throttle
        self._wal: _Wal | None = None
        self._wal_rate = 0.0

    async def reasons(self) -> list[str]:
        """Why to hold back now; empty when there is no reason.

        Raises:
            InvalidRequest: The throttle's expression is not one that PostgreSQL can evaluate.
        """
        throttle, found = self._throttle, []
        most_lag, most_sessions = throttle.max_replication_lag_seconds, throttle.max_active_sessions
        async with self._engine.connect() as connection:
            if most_lag is not None:
                lag = await connection.scalar(_LAG)
                if lag is not None and lag > most_lag:
                    found.append(f"a replica is {lag:.1f} s behind (at most {most_lag:g} s)")
            if most_sessions is not None:
                sessions = await connection.scalar(_SESSIONS) or 0
                if sessions > most_sessions:
                    found.append(f"{sessions} sessions are active (at most {most_sessions})")
            most_wal = throttle.max_wal_bytes_per_second
            if most_wal is not None:
                rate = await self._rate(connection)
                if rate > most_wal:
                    found.append(
                        f"the server writes {rate / 2**20:.1f} MiB of WAL a second (at most "
                        f"{most_wal / 2**20:.1f})"
                    )
        if throttle.hold_while is not None and await self._holds(throttle.hold_while):
            found.append(f"hold_while is true: {throttle.hold_while}")
        return found

    async def _rate(self, connection: AsyncConnection) -> float:
        """Bytes a second since the last look; the first look takes two."""
        if self._wal is None:
            self._wal = await _written(connection)
            await asyncio.sleep(_LEAST_SECONDS)
        before = self._wal
        if time.monotonic() - before.at >= _LEAST_SECONDS:
            self._wal = await _written(connection)
            self._wal_rate = (self._wal.bytes - before.bytes) / (self._wal.at - before.at)
        return self._wal_rate

    async def _holds(self, expression: str) -> bool:
        """Whether the expression is true; one that takes too long is: the database is busy."""
        try:
            async with self._engine.connect() as connection:
                # It may call what it likes: all that it leaves in its session goes with it.
                try:
                    async with _rolled_back(connection):
                        return await _evaluated(connection, expression)
                finally:
                    await connection.invalidate()
        except (DBAPIError, asyncpg.PostgresError) as error:
            refused = server_error(error)
            if isinstance(refused, asyncpg.QueryCanceledError):
                return True
            if isinstance(refused, asyncpg.ReadOnlySQLTransactionError):
                # It writes; the server may well do.
                raise _refusal(expression, told(refused)) from None
            if refused is None or judge(refused) is Judgement.PASSING:
                raise
            raise _refusal(expression, told(refused)) from error


@asynccontextmanager
async def _rolled_back(connection: AsyncConnection) -> AsyncIterator[None]:
    """A read-only transaction; behind a pooler, the session is left as it was found."""
    await connection.execute(text("SET TRANSACTION READ ONLY"))
    inner = await connection.begin_nested()
    try:
        yield
    finally:
        with contextlib.suppress(*DATABASE_ERRORS):
            await inner.rollback()
            if is_pooled(await raw(connection)):
                await connection.execute(text("SELECT pg_advisory_unlock_all()"))


async def _evaluated(connection: AsyncConnection, expression: str) -> bool:
    limit = f"SET LOCAL statement_timeout = {_EXPRESSION_MILLISECONDS}"
    await connection.exec_driver_sql(limit)
    # In a sub-select of its own: nothing can follow it that is not part of it.
    statement = f"SELECT (SELECT ({expression}\n))"
    prepared = await (await raw(connection)).prepare(statement)
    if prepared.get_parameters():
        raise _refusal(expression, "there is no value for its $1")
    kind = prepared.get_attributes()[0].type.name
    if kind != "bool":
        raise _refusal(expression, f"it is of type {kind}")
    return bool(await prepared.fetchval())


def _refusal(expression: str, why: object) -> InvalidRequest:
    return InvalidRequest(
        f"throttle.hold_while: expected an SQL expression that is true or false, got "
        f"{expression!r}: {why}"
    )
