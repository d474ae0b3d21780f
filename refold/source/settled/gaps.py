"""Gaps in the positions: found, passed, and looked at again.

A gap is passed in a transaction that records all gaps up to the same position, from those that were
recorded before. So whatever is read up to a position that somebody has passed to is read after the
gaps below it were recorded: an event that was not there to be read will be found in one of them.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import compiled, own_transaction
from refold.source.settled.patience import Patience
from refold.store.gaps import tables

if TYPE_CHECKING:
    from refold.source.port.event_source import EventSource

logger = logging.getLogger(__name__)

# One look puts no more events right than these.
_LATE_AT_A_TIME = 1000

_LOCK = """
    INSERT INTO refold.passed_to VALUES ($1, $2)
    ON CONFLICT (source) DO UPDATE SET source = excluded.source RETURNING position
"""
_TRY_LOCK = "SELECT position FROM refold.passed_to WHERE source = $1 FOR UPDATE SKIP LOCKED"
_RECORD = """
    INSERT INTO refold.passed_gaps (source, low, high)
    SELECT $1, * FROM unnest($2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING
"""
_MOVE = "UPDATE refold.passed_to SET position = $2 WHERE source = $1"
_GIVE_UP = """
    DELETE FROM refold.passed_gaps WHERE source = $1 AND (
        passed_at < now() - $2 * interval '1 second' OR low IN (
            SELECT low FROM refold.passed_gaps WHERE source = $1
            ORDER BY passed_at DESC, low DESC OFFSET $3))
"""
_SPLIT = """
    WITH old AS (
        DELETE FROM refold.passed_gaps WHERE source = $1 AND low = ANY ($2::bigint[])
        RETURNING low, passed_at
    )
    INSERT INTO refold.passed_gaps (source, low, high, passed_at)
    SELECT $1, new.low, new.high, old.passed_at
    FROM unnest($3::bigint[], $4::bigint[], $5::bigint[]) AS new (was, low, high)
    JOIN old ON old.low = new.was
"""
_ADD_LATE = """
    INSERT INTO refold.late_events (source, position)
    SELECT $1, n FROM unnest($2::bigint[]) AS n ORDER BY n
"""


@dataclass(frozen=True)
class Gap:
    """Positions that nobody has used.

    Attributes:
        low: The first (inclusive).
        high: The last (inclusive).
    """

    low: int
    high: int

    def __str__(self) -> str:
        if self.low == self.high:
            return f"position {self.low}"
        return f"positions {self.low} to {self.high}"


async def passed_to(connection: AsyncConnection, source: EventSource) -> int:
    """Up to which position all gaps are recorded."""
    table = tables.passed_to
    found = await connection.scalar(select(table.c.position).where(table.c.source == source.name))
    return source.before if found is None else int(found)


async def first_gap(
    connection: AsyncConnection, source: EventSource, patience: Patience, *, after: int, upto: int
) -> Gap | None:
    """The first gap with after < position <= upto."""
    statement = _gaps(source, patience, after=after, upto=upto).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Gap(row.low, row.high)


async def pass_over(
    connection: AsyncConnection, source: EventSource, patience: Patience, upto: int
) -> None:
    """Records the gaps up to a position, in a transaction of its own.

    Args:
        connection: In autocommit.
        source: The events.
        patience: How positions grow.
        upto: The position (inclusive), which is used.
    """
    async with own_transaction(connection) as driver:
        known: int = await driver.fetchval(_LOCK, source.name, source.before)
        if known >= upto:
            return
        sql, arguments = compiled(_gaps(source, patience, after=known, upto=upto))
        found = [Gap(*row) for row in await driver.fetch(sql, *arguments)]
        lows, highs = [gap.low for gap in found], [gap.high for gap in found]
        await driver.execute(_RECORD, source.name, lows, highs)
        await driver.execute(_MOVE, source.name, upto)
    if found:
        more = f" and {len(found) - 1:,} others" if len(found) > 1 else ""
        logger.info("%s: passed %s%s, which nobody has used", source.name, found[0], more)


async def look_again(connection: AsyncConnection, source: EventSource, patience: Patience) -> int:
    """Records the events that have appeared in passed gaps, in a transaction of its own.

    Nothing is done while somebody else looks.

    Args:
        connection: Not in a transaction.
        source: The events.
        patience: For how long gaps are looked at again.

    Returns:
        How many have appeared.
    """
    async with own_transaction(connection) as driver:
        if await driver.fetchval(_TRY_LOCK, source.name) is None:
            return 0
        await driver.execute(_GIVE_UP, source.name, patience.again_seconds, patience.most_gaps)
        late = await _appeared(driver, source, patience)
        if not late:
            return 0
        left = [(gap.low, part) for gap, used in late.items() for part in _without(gap, used)]
        await driver.execute(
            _SPLIT,
            source.name,
            [gap.low for gap in late],
            [was for was, _ in left],
            [part.low for _, part in left],
            [part.high for _, part in left],
        )
        positions = [position for used in late.values() for position in used]
        await driver.execute(_ADD_LATE, source.name, positions)
    logger.warning(
        "%s: %d events have appeared in gaps that were passed, the first at position %d: the keys "
        "that they name are folded anew",
        source.name,
        len(positions),
        min(positions),
    )
    return len(positions)


async def _appeared(
    driver: asyncpg.Connection[Any], source: EventSource, patience: Patience
) -> dict[Gap, list[int]]:
    sql, arguments = compiled(in_gaps(source, patience).limit(_LATE_AT_A_TIME))
    late: dict[Gap, list[int]] = {}
    for low, high, position in await driver.fetch(sql, *arguments):
        late.setdefault(Gap(low, high), []).append(position)
    return late


def in_gaps(source: EventSource, patience: Patience) -> Select[Any]:
    """Selects what has appeared in passed gaps and is not recorded yet: gap and position."""
    table, numbers = tables.passed_gaps.c, patience.numbers(source)
    inside: ColumnElement[bool] = numbers.c.n.between(table.low, table.high)
    return (
        select(table.low, table.high, numbers.c.n)
        .select_from(tables.passed_gaps.join(numbers, inside))
        .where(table.source == source.name)
        .order_by(table.low, numbers.c.n)
    )


def _without(gap: Gap, used: Sequence[int]) -> list[Gap]:
    """What is left of a gap beside the positions that are used."""
    bounds = [gap.low - 1, *used, gap.high + 1]
    parts = pairwise(bounds)
    return [Gap(low + 1, high - 1) for low, high in parts if high - low > 1]


def _gaps(source: EventSource, patience: Patience, *, after: int, upto: int) -> Select[Any]:
    n = patience.numbers(source).c.n
    used = select(
        (func.lag(n, 1, after).over(order_by=n) + patience.step).label("low"), n.label("n")
    ).where(n > after, n <= upto)
    found = used.subquery("used")
    return (
        select(found.c.low, (found.c.n - 1).label("high"))
        .where(found.c.low < found.c.n)
        .order_by(found.c.n)
    )
