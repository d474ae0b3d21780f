"""The connections that an application may append through: asyncpg's, and SQLAlchemy's.

Whatever it is, what is done is done in its transaction. The parameters are texts and whole numbers,
which PostgreSQL casts, so that no codec of the connection makes a difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

Connection: TypeAlias = (
    "AsyncConnection | AsyncSession | asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
)
"""What an application may append through."""

_UNIQUE = "23505"


class Taken(Exception):
    """The database refuses a row, as there is one with its unique values already."""


class Writes(Protocol):
    """What appending needs of a connection."""

    def savepoint(self) -> Any:
        """A context in which what fails leaves the caller's transaction as it was before.

        Raises:
            Taken: A unique value is there already.
        """

    async def value(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        """Runs a statement with parameters ``:name``; returns the first value it gives, or None."""


def writing(connection: Connection) -> Writes:
    """The connection, for appending.

    Raises:
        TypeError: It is none that one can append through.
    """
    if isinstance(connection, AsyncConnection | AsyncSession):
        return _Sqlalchemy(connection)
    if isinstance(connection, asyncpg.Connection | PoolConnectionProxy):
        return _Asyncpg(connection)
    raise TypeError(
        "append(): expected a connection of asyncpg, or an AsyncConnection or AsyncSession of "
        f"SQLAlchemy, got {type(connection).__name__}"
    )


class _Sqlalchemy:
    def __init__(self, connection: AsyncConnection | AsyncSession) -> None:
        self._given = connection

    async def _connection(self) -> AsyncConnection:
        given = self._given
        return await given.connection() if isinstance(given, AsyncSession) else given

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        connection = await self._connection()
        try:
            async with connection.begin_nested():
                yield
        except IntegrityError as error:
            if getattr(error.orig, "sqlstate", None) != _UNIQUE:
                raise
            raise Taken from error

    async def value(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        connection = await self._connection()
        result = await connection.execute(text(statement), parameters)
        return result.scalar() if result.returns_rows else None


class _Asyncpg:
    def __init__(self, connection: asyncpg.Connection[Any] | PoolConnectionProxy[Any]) -> None:
        self._driver = connection

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        try:
            async with self._driver.transaction():
                yield
        except asyncpg.UniqueViolationError as error:
            raise Taken from error

    async def value(self, statement: str, parameters: Mapping[str, Any]) -> Any:
        for number, name in enumerate(parameters, start=1):
            statement = statement.replace(f":{name} ", f"${number} ")
        return await self._driver.fetchval(statement, *parameters.values())
