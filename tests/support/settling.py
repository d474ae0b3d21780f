"""Who reads the log up to the settled head, and who appends to it by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.head import SettledHead
from refold.source.reader import read_window
from tests.support.databases import Database

_streams = count(1)


class Reader:
    """Reads the log up to the settled head at each look, as a follower does."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.head = SettledHead()
        self.seen: list[int] = []
        self._connection = connection
        self._read = 0

    async def look(self) -> list[int]:
        """Looks once; returns the positions that are new."""
        upto = await self.head.poll(self._connection)
        events = await read_window(
            self._connection, types=["T"], after=self._read, upto=upto, limit=1000
        )
        self._read = upto
        positions = [event.position for event in events]
        self.seen += positions
        return positions


@asynccontextmanager
async def reading(database: Database) -> AsyncIterator[Reader]:
    """A reader of the log, with a connection of its own."""
    async with database.engine.connect() as connection:
        yield Reader(await connection.execution_options(isolation_level="AUTOCOMMIT"))


@asynccontextmanager
async def session(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    """A writer's connection."""
    connection = await asyncpg.connect(
        database.url, server_settings={"application_name": "a writer"}
    )
    try:
        yield connection
    finally:
        await connection.close()


async def write(connection: asyncpg.Connection[Any]) -> int:
    """Appends an event to a stream of its own; returns its position."""
    position: int = await connection.fetchval(
        "INSERT INTO refold.events (stream_id, version, type, data) VALUES ($1, 1, 'T', '{}') "
        "RETURNING position",
        f"s-{next(_streams)}",
    )
    return position
