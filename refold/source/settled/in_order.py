"""Settling by the order of commits: positions become visible in ascending order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled.strategy import Writer, last_position

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource


class InOrder:
    """The head is the highest position that can be seen: nobody draws one while another may not.

    True for writers that come one after another, such as under a lock of the table or of a row
    that is taken before the position is drawn and kept to the end of the transaction. Nobody checks
    it: with writers of another kind, events are missed.
    """

    on_standby = True
    """A standby shows commits in the order of the primary's."""

    async def highest(self, connection: AsyncConnection, source: EventSource) -> int:
        """The highest position that can be seen."""
        return await last_position(connection, source)

    async def writers(self, connection: AsyncConnection, source: EventSource) -> list[Writer]:
        """None that may still append below it."""
        return []
