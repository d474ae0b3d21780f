"""Reads events for one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.source import portions
from refold.source.batches.bounded import Bounded
from refold.source.port.elsewhere import reading
from refold.source.portions import in_portions, position_of


@dataclass
class Read:
    """The next events of a statement, and whether they are its last.

    Attributes:
        texts: Each as JSON, for `decoded`.
        all: Whether no event comes after them.
    """

    texts: list[str]
    all: bool


class BatchReader:
    """Reads events for one transaction, bounded by number and by the bytes of a batch.

    Attributes:
        at_once: How many events are asked for at a time. Fewer are asked for where events are
            heavy, as measuring these costs about as much as reading them.
    """

    def __init__(self) -> None:
        self.at_once = portions.PORTION_EVENTS
        self._made: tuple[Select[Any], Bounded] | None = None

    async def read(
        self,
        connection: AsyncConnection,
        statement: Select[Any],
        *,
        after: int,
        limit: int,
        upto: int | None = None,
    ) -> Read:
        """Up to `limit` events of a statement with positions above `after` (exclusive).

        Args:
            connection: In a transaction.
            statement: Of `weighed`, in order of position; best the same object each time.
            after: Where to begin.
            limit: How many at most.
            upto: The last position (inclusive); None for no bound.
        """
        if self._made is None or self._made[0] is not statement:
            self._made = statement, Bounded.of(statement)
        bounded = self._made[1]
        async with reading(connection, upto=upto) as there:
            return await self._read(await raw(there), bounded, after, upto, limit)

    async def _read(
        self,
        driver: asyncpg.Connection[Any],
        bounded: Bounded,
        after: int,
        upto: int | None,
        limit: int,
    ) -> Read:
        read: list[str] = []
        total = 0
        while True:
            asked = min(limit - len(read), self.at_once)
            arguments = bounded.arguments(after=after, upto=upto, limit=asked)
            found = await driver.fetch(bounded.sql, *arguments)
            taken = 0
            async for portion in in_portions(driver, found):
                read += portion
                taken += len(portion)
                total += sum(map(len, portion))
                if total >= portions.BATCH_BYTES:
                    break
            if taken < len(found):
                self.at_once = max(10, 2 * taken)
                return Read(read, all=False)
            self.at_once = min(portions.PORTION_EVENTS, 2 * max(self.at_once, 10))
            if len(found) < asked:
                return Read(read, all=True)
            if total >= portions.BATCH_BYTES or len(read) >= limit:
                return Read(read, all=False)
            after = position_of(read[-1])
