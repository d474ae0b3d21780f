"""Settling by a mark that the event store itself keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled.strategy import Writer

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource


class Marked:
    """The head is the high-water mark of the store, such as Marten's daemon keeps it.

    Events above the mark are not read, whoever keeps it: a store whose daemon does not run stands
    still.

    Args:
        mark: Selects one position, up to which (inclusive) nothing can still appear; no row, or
            NULL, is before all events.
    """

    on_standby = True
    """A standby has the mark with what it marks."""

    def __init__(self, mark: Select[Any]) -> None:
        self.mark = mark

    async def highest(self, connection: AsyncConnection, source: EventSource) -> int:
        """The mark."""
        found = await connection.scalar(self.mark)
        return source.before if found is None else int(found)

    async def writers(self, connection: AsyncConnection, source: EventSource) -> list[Writer]:
        """None that may still append below it."""
        return []
