"""What a process remembers of the gaps that it waits for: how far positions were used, and when."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.settled.strategy import Writer

# Of the time that gaps are waited for, marks are this share apart.
_APART = 0.05
# While somebody is at work for very long, marks are kept more seldom.
_MOST = 100


@dataclass
class Mark:
    """The highest position at a moment, and who was at work: all gaps below it were there then.

    Attributes:
        highest: The position.
        at: The moment, by the process's clock.
        writers: Who was at work, and is not known to have ended.
    """

    highest: int
    at: float
    writers: list[Writer]

    @property
    def age(self) -> float:
        """In seconds."""
        return time.monotonic() - self.at


@dataclass
class Marks:
    """The marks of each database, the oldest first; all who look in this process share them."""

    _of: dict[str, list[Mark]] = field(default_factory=dict)

    def of(self, connection: AsyncConnection) -> list[Mark]:
        """Those of a connection's database."""
        url = connection.engine.url
        return self._of.setdefault(f"{url.host}:{url.port}/{url.database}", [])

    def is_due(self, connection: AsyncConnection, highest: int, seconds: float) -> bool:
        """Whether a mark is to be set at this position."""
        marks = self.of(connection)
        if not marks:
            return True
        last = marks[-1]
        return highest > last.highest and last.age >= seconds * _APART

    def add(self, connection: AsyncConnection, mark: Mark) -> None:
        """Adds the latest mark."""
        marks = self.of(connection)
        marks.append(mark)
        if len(marks) > _MOST:
            del marks[:-1:2]

    def ripe(
        self, connection: AsyncConnection, open_now: Collection[str], seconds: float
    ) -> Mark | None:
        """The latest of those that are old enough, and whose writers have ended; it stays."""
        marks = self.of(connection)
        for mark in marks:
            mark.writers = [one for one in mark.writers if one.transaction in open_now]
        ripe = [mark for mark in marks if mark.age >= seconds and not mark.writers]
        for mark in ripe[:-1]:
            marks.remove(mark)
        return ripe[-1] if ripe else None
