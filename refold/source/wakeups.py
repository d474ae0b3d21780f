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

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.runtime.sessions import is_pooled
from refold.source.port.current import event_source


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
    driver = await raw(connection)
    bell = Bell()
    channel = event_source().wakes_on
    if channel is None or is_pooled(driver):
        yield bell  # nobody notifies, or not a pooled session: the clock wakes instead
        return
    await driver.add_listener(channel, bell.ring)
    try:
        yield bell
    finally:
        if not driver.is_closed():
            await driver.remove_listener(channel, bell.ring)
