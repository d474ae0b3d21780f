"""Looking for the settled head again and again: what a strategy keeps between its looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled.strategy import Settling, Writer

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource


class Looking(Protocol):
    """One who looks for the settled head of a source.

    Attributes:
        position: The highest position known to be settled; it never goes down.
        candidate: What is settled once nobody is waited for.
        waiting_for: Who keeps the next position from being settled.
    """

    position: int
    candidate: int
    waiting_for: list[Writer]

    async def poll(self, connection: AsyncConnection) -> None:
        """Looks once; see `refold.source.head.SettledHead.poll`."""
        ...


class WaitingForWriters:
    """Waits until all who may still append below the highest position have ended.

    Args:
        settling: Tells the highest position, and who these are.
        source: The events.
        settled: A position that is known to be settled.
    """

    def __init__(self, settling: Settling, source: EventSource, settled: int) -> None:
        self._settling = settling
        self._source = source
        self.position = self.candidate = settled
        self.waiting_for: list[Writer] = []

    async def poll(self, connection: AsyncConnection) -> None:
        """See `Looking`."""
        if self.waiting_for:
            open_now = {writer.transaction for writer in await self._writers(connection)}
            self.waiting_for = [w for w in self.waiting_for if w.transaction in open_now]
            if self.waiting_for:
                return
            self.position = self.candidate
        # The order matters: first the highest position, then who may still be below it.
        highest = await self._settling.highest(connection, self._source)
        if highest > self.position:
            self.candidate = highest
            self.waiting_for = await self._writers(connection)
            if not self.waiting_for:
                self.position = highest

    async def _writers(self, connection: AsyncConnection) -> list[Writer]:
        return await self._settling.writers(connection, self._source)
