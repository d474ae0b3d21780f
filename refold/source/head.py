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

from refold.errors import ConfigurationError
from refold.source.port.current import event_source
from refold.source.port.elsewhere import is_elsewhere, reading
from refold.source.port.event_source import EventSource
from refold.source.settled.looking import Looking, WaitingForWriters
from refold.source.settled.patience import Patience
from refold.source.settled.strategy import Writer
from refold.source.settled.waiting_for_gaps import WaitingForGaps

_POLL_SECONDS = 0.05

PATIENCE_ELSEWHERE = (
    "settled: expected Locks, InOrder or Marked for events in another database "
    "(REFOLD_EVENTS_URL), got Patience: gaps that are passed are recorded together with what is "
    "there. Have positions drawn one by one (CACHE 1, allocationSize = 1), and use Locks"
)


class SettledHead:
    """Finds the settled head by looking again and again; it never goes down.

    Args:
        settled: A position that is known to be settled, such as a checkpoint; None for none.
        source: Whose head it is, in the database of the connection; None for the event source of
            this process, wherever it is.
        records: Whether gaps that are passed may be recorded; a head that nobody goes on from
            passes none. See `refold.source.settled.patience`.

    Raises:
        ConfigurationError: Gaps are waited for, and the events are in another database.
    """

    def __init__(
        self,
        settled: int | None = None,
        source: EventSource | None = None,
        *,
        records: bool = True,
    ) -> None:
        self._is_given = source is not None
        source = source or event_source()
        first = source.before if settled is None else settled
        self._looking: Looking
        if isinstance(source.settled, Patience):
            if not self._is_given and is_elsewhere():
                raise ConfigurationError(PATIENCE_ELSEWHERE)
            self._looking = WaitingForGaps(source.settled, source, first, records=records)
        else:
            self._looking = WaitingForWriters(source.settled, source, first)

    @property
    def position(self) -> int:
        """The highest position known to be settled."""
        return self._looking.position

    @property
    def waiting_for(self) -> list[Writer]:
        """The open transactions, or gaps, that keep the next position from being settled."""
        return self._looking.waiting_for

    async def poll(self, connection: AsyncConnection) -> int:
        """Looks once, without waiting.

        Args:
            connection: In autocommit or READ COMMITTED, holding no lock on the events' tables. What
                is read up to the returned position must be read by a later statement.

        Returns:
            The highest position now known to be settled.
        """
        if self._is_given:
            await self._looking.poll(connection)
        else:
            async with reading(connection) as there:
                await self._looking.poll(there)
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
        target = self._looking.candidate if self.waiting_for else self.position
        clock = asyncio.get_running_loop().time
        end = math.inf if seconds is None else clock() + seconds
        while self.position < target and clock() < end:
            waiting(self.waiting_for)
            await asyncio.sleep(_POLL_SECONDS)
            await self.poll(connection)
        return self.position
