"""The settled head: the highest position at or below which nothing can still appear.

Sequences do not commit in order: a transaction may draw position 7, another 8, and 8 commit first.
A reader that goes on to 8 then never sees 7. But an INSERT locks the table (ROW EXCLUSIVE) before
it draws its position and keeps that lock until it ends. So: read the highest position, *then* see
who holds that lock; once all of those have ended, everything up to that position is committed or
never will be. Prepared transactions count. This needs no extra column and no session state.

Not covered, because such a position is drawn without the lock: positions taken from the sequence
by the application beforehand, a sequence with CACHE above 1, logical-replication subscribers,
standbys.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.store.schema import events

_POLL_SECONDS = 0.05

_WRITERS = text(
    """
    SELECT l.virtualtransaction AS transaction, l.pid, coalesce(a.xact_start, p.prepared) AS since,
           coalesce(a.application_name, 'prepared ' || p.gid) AS name
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_locks x ON x.pid IS NULL AND x.locktype = 'transactionid'
         AND x.virtualtransaction = l.virtualtransaction AND l.pid IS NULL
    LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'RowExclusiveLock'
      AND l.relation = 'refold.events'::regclass
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)


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
        who = f"pid {self.pid} ({self.name})" if self.pid else str(self.name)
        return f"{who} since {self.since:%Y-%m-%d %H:%M:%S %Z}" if self.since else who


class SettledHead:
    """Finds the settled head by looking again and again; it never goes down.

    Args:
        settled: A position that is known to be settled, such as a checkpoint.

    Attributes:
        position: The highest position known to be settled.
        waiting_for: The open transactions that keep the next position from being settled.
    """

    def __init__(self, settled: int = 0) -> None:
        self.position = settled
        self.waiting_for: list[Writer] = []
        self._candidate = 0

    async def poll(self, connection: AsyncConnection) -> int:
        """Looks once, without waiting.

        Args:
            connection: In autocommit or READ COMMITTED, holding no lock on the event table. What
                is read up to the returned position must be read by a later statement.

        Returns:
            The highest position now known to be settled.
        """
        if self.waiting_for:
            open_now = {writer.transaction for writer in await _writers(connection)}
            self.waiting_for = [w for w in self.waiting_for if w.transaction in open_now]
            if self.waiting_for:
                return self.position
            self.position = self._candidate
        # The order matters: first the highest position, then who may still be below it.
        highest = await connection.scalar(select(func.coalesce(func.max(events.c.position), 0)))
        assert highest is not None
        if highest > self.position:
            self._candidate = highest
            self.waiting_for = await _writers(connection)
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


async def _writers(connection: AsyncConnection) -> list[Writer]:
    rows = await connection.execute(_WRITERS)
    return [Writer(row.transaction, row.pid, row.since, row.name) for row in rows]
