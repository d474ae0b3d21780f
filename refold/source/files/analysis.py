"""Makes the statistics of the event table anew after many events were added to it.

Autovacuum does so, too, some minutes later. Until then PostgreSQL takes the table for as small as
it was, and may read all of it for a window of events.
"""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.runtime.database import raw, server_error

LARGE = 10_000
"""From so many events on."""


async def analyzed(engine: AsyncEngine, added: int, *, wait_seconds: float = 30) -> bool:
    """Runs ANALYZE, if many events were added; or says that it could not.

    Args:
        engine: Of the database with the event store.
        added: How many events were added.
        wait_seconds: For how long at most it waits for whoever holds the table.

    Returns:
        False when somebody has held the table for too long, or it belongs to another role.
    """
    if added < LARGE:
        return True
    warnings: list[Any] = []

    def listen(connection: Any, message: Any) -> None:
        warnings.append(message)

    try:
        async with engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {int(wait_seconds * 1000)}"))
            await connection.execute(text("SET LOCAL client_min_messages = warning"))
            driver = await raw(connection)
            driver.add_log_listener(listen)
            try:
                # Who has no right to it is told so in a warning.
                await connection.execute(text("ANALYZE refold.events"))
                await asyncio.sleep(0)  # the listener is called by the loop
            finally:
                driver.remove_log_listener(listen)
    except DBAPIError as error:
        if not isinstance(server_error(error), asyncpg.LockNotAvailableError):
            raise
        return False
    return not warnings
