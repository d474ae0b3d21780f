"""Wakes a reader that waits for events: by notification, or by the clock when none comes.

No application has to notify. Refold does not notify when it appends, as PostgreSQL refuses to
prepare a transaction (PREPARE TRANSACTION) that has notified. Behind a pooler, no reader can be
notified.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.runtime.sessions import is_pooled
from refold.source.port.current import event_source
from refold.source.port.elsewhere import reading


class Bell:
    """Rings when somebody has appended."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self, *_: object) -> None:
        """Ends the wait that is under way; if there is none, the next one ends at once."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Waits until it rings, for so long at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


@asynccontextmanager
async def listening(connection: AsyncConnection) -> AsyncIterator[Bell]:
    """A bell that rings after each transaction that notifies, as long as the connection lives."""
    bell = Bell()
    channel = event_source().wakes_on
    if channel is None:
        yield bell  # nobody notifies: the clock wakes instead
        return
    async with reading(connection) as there:
        driver = await raw(there)
        if is_pooled(driver) or not await _listens(driver, channel, bell):
            yield bell
            return
        try:
            yield bell
        finally:
            if not driver.is_closed():
                await driver.remove_listener(channel, bell.ring)


async def _listens(driver: asyncpg.Connection[Any], channel: str, bell: Bell) -> bool:
    try:
        await driver.add_listener(channel, bell.ring)
    except asyncpg.ReadOnlySQLTransactionError:  # a standby
        return False
    return True
