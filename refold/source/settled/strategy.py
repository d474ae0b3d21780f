"""What every strategy answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import compiled, raw

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource


@dataclass(frozen=True)
class Writer:
    """An open transaction that may still append below the highest position.

    Attributes:
        transaction: PostgreSQL's virtual transaction id.
        pid: Its server process; None for a prepared transaction.
        since: When it began.
        name: The application's name, or the prepared transaction's.
    """

    transaction: str
    pid: int | None
    since: datetime | None
    name: str | None

    def __str__(self) -> str:
        named = f" ({self.name})" if self.name else ""
        who = f"pid {self.pid}{named}" if self.pid else str(self.name)
        return f"{who} since {self.since:%Y-%m-%d %H:%M:%S %Z}" if self.since else who


class Settling(Protocol):
    """How the head of a source settles."""

    async def highest(self, connection: AsyncConnection, source: EventSource) -> int:
        """The position that is settled once all `writers` of a later look have ended."""
        ...

    async def writers(self, connection: AsyncConnection, source: EventSource) -> list[Writer]:
        """The open transactions that may still append at or below the highest position."""
        ...


async def last_position(connection: AsyncConnection, source: EventSource) -> int:
    """The highest position that can be seen; the one before all when there are no events."""
    sql, arguments = _last_of(source)
    return int(await (await raw(connection)).fetchval(sql, *arguments))


# A live projection asks fifty times a second: making the statement would cost more than asking.
@lru_cache(maxsize=16)
def _last_of(source: EventSource) -> tuple[str, list[Any]]:
    return compiled(select(func.coalesce(func.max(source.events.c.position), source.before)))
