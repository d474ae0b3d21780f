"""Settling by patience, for stores whose writers hold no lock that would tell who is to come.

Where positions are drawn in a transaction of their own (a sequence with CACHE above 1, pools of
positions that an application draws in advance), a position that is missing may still be used, by
somebody who has not even begun to write. Nothing tells. So a gap is waited for, and then passed:
when it is older than some seconds, and no transaction is left that was at work when it was first
seen. Gaps that are passed are recorded and looked at again. An event that appears in one is late:
the rows of its keys are folded anew (`refold.engine.live.late_events`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Select, Subquery, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import ConfigurationError
from refold.source.settled.locks import Locks
from refold.source.settled.marks import Marks
from refold.source.settled.strategy import Settling, Writer

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource

# Who has written anything: it holds a lock on its own transaction's number. Reading takes none, so
# that a long query or a dump holds nobody up. Prepared transactions have no process. Refold's own
# transactions write no events: one of them may be waiting for this very answer.
_AT_WORK = text(
    """
    SELECT l.virtualtransaction AS transaction, l.pid,
           coalesce(a.xact_start, p.prepared) AS since,
           coalesce(a.application_name, 'prepared ' || p.gid) AS name
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid AND l.pid IS NULL
    WHERE l.locktype = 'transactionid' AND l.granted AND l.mode = 'ExclusiveLock'
      AND coalesce(a.application_name, '') NOT IN ('refold', current_setting('application_name'))
      AND coalesce(a.datname, p.database) = current_database()
    """
)


class Patience:
    """A gap in the positions is passed after a while, and looked at again for a longer while.

    Nothing is waited for where there is no gap. So writers that roll back, or pools that are not
    used up, cost the head some seconds, once. A late event costs that the rows of its keys are
    folded anew.

    Args:
        seconds: For how long a gap is waited for, at least. It should be longer than it takes from
            drawing a position to the commit.
        again_seconds: For how long a gap is looked at again after it was passed. An event that
            appears in it even later is missed until a rebuild: for pools it should be longer than
            a process of the application lives.
        most_gaps: How many gaps are looked at again, at most; beyond that, those passed first are
            given up.
        step: How far apart positions are, such as the sequence's increment: what is between is no
            gap.
        numbers: Selects all positions that were used, in one column, where the source leaves out
            some of the rows that have positions; the events of the source if left out. So what is
            left out is no gap.
        locks: What is watched beside: whoever holds such a lock is waited for, too.

    Raises:
        ConfigurationError: A number is out of its bounds.
    """

    def __init__(
        self,
        seconds: float = 10,
        *,
        again_seconds: float = 86_400,
        most_gaps: int = 100_000,
        step: int = 1,
        numbers: Select[Any] | None = None,
        locks: Locks | None = None,
    ) -> None:
        for name, given, least in (
            ("seconds", seconds, 0),
            ("again_seconds", again_seconds, seconds),
            ("most_gaps", most_gaps, 1),
            ("step", step, 1),
        ):
            if not given >= least:
                raise ConfigurationError(
                    f"Patience: {name}: expected {least:g} or more, got {given!r}"
                )
        self.seconds = seconds
        self.again_seconds = again_seconds
        self.most_gaps = most_gaps
        self.step = step
        self.locks = locks or Locks()
        self.marks = Marks()
        self._numbers = numbers

    async def highest(self, connection: AsyncConnection, source: EventSource) -> int:
        """The highest position that was used."""
        numbers = self.numbers(source)
        statement = select(func.coalesce(func.max(numbers.c.n), source.before))
        return int(await connection.scalar(statement) or 0)

    async def writers(self, connection: AsyncConnection, source: EventSource) -> list[Writer]:
        """The transactions that are at work: those that have written, or hold a watched lock."""
        found = await self.locks.writers(connection, source)
        rows = await connection.execute(_AT_WORK)
        found += [Writer(row.transaction, row.pid, row.since, row.name) for row in rows]
        return list({writer.transaction: writer for writer in found}.values())

    def numbers(self, source: EventSource) -> Subquery:
        """The positions that were used, in the column `n`."""
        if self._numbers is None:
            return select(source.events.c.position.label("n")).subquery("numbers")
        (column,) = self._numbers.selected_columns
        return self._numbers.with_only_columns(column.label("n")).subquery("numbers")


def patience_of(source: EventSource) -> Patience | None:
    """The source's patience; None when its head settles otherwise."""
    settled: Settling = source.settled
    return settled if isinstance(settled, Patience) else None
