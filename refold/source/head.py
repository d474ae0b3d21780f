"""The settled head: the highest position at or below which nothing can still appear.

Sequences do not commit in order: a transaction may draw position 7, another 8, and 8 commit first.
A reader that goes on to 8 then never sees 7. Each event source says how it settles: see
`refold.source.settled`. As a rule, by locks (`refold.source.settled.locks`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.port.current import event_source
from refold.source.port.elsewhere import reading
from refold.source.port.event_source import EventSource
from refold.source.settled.strategy import Writer

_POLL_SECONDS = 0.05


class SettledHead:
    """Finds the settled head by looking again and again; it never goes down.

    Args:
        settled: A position that is known to be settled, such as a checkpoint; None for none.
        source: Whose head it is, in the database of the connection; None for the event source of
            this process, wherever it is.

    Attributes:
        position: The highest position known to be settled.
        waiting_for: The open transactions that keep the next position from being settled.
    """

    def __init__(self, settled: int | None = None, source: EventSource | None = None) -> None:
        self._is_given = source is not None
        self._source = source or event_source()
        self._settling = self._source.settled
        self.position = self._source.before if settled is None else settled
        self.waiting_for: list[Writer] = []
        self._candidate = self.position

    async def poll(self, connection: AsyncConnection) -> int:
        """Looks once, without waiting.

        Args:
            connection: In autocommit or READ COMMITTED, holding no lock on the events' tables. What
                is read up to the returned position must be read by a later statement.

        Returns:
            The highest position now known to be settled.
        """
        if self._is_given:
            return await self._look(connection)
        async with reading(connection) as there:
            return await self._look(there)

    async def _look(self, connection: AsyncConnection) -> int:
        if self.waiting_for:
            open_now = {writer.transaction for writer in await self._writers(connection)}
            self.waiting_for = [w for w in self.waiting_for if w.transaction in open_now]
            if self.waiting_for:
                return self.position
            self.position = self._candidate
        # The order matters: first the highest position, then who may still be below it.
        highest = await self._settling.highest(connection, self._source)
        if highest > self.position:
            self._candidate = highest
            self.waiting_for = await self._writers(connection)
            if not self.waiting_for:
                self.position = highest
        return self.position

    async def wait(
        self,
        connection: AsyncConnection,
        *,
        waiting: Callable[[list[Writer]], None] = lambda writers: None,
        seconds: float | None = None,
    ) -> int:
        """Waits until all that was visible at the call is settled.

        Args:
            connection: As for `poll`.
            waiting: Called at each look with the transactions that are waited for.
            seconds: How long to wait at most; None for as long as it takes.

        Returns:
            A settled position: at or above the highest one visible at the call, unless the time
            ran out.
        """
        await self.poll(connection)
        target = self._candidate if self.waiting_for else self.position
        clock = asyncio.get_running_loop().time
        end = math.inf if seconds is None else clock() + seconds
        while self.position < target and clock() < end:
            waiting(self.waiting_for)
            await asyncio.sleep(_POLL_SECONDS)
            await self.poll(connection)
        return self.position

    async def _writers(self, connection: AsyncConnection) -> list[Writer]:
        return await self._settling.writers(connection, self._source)
