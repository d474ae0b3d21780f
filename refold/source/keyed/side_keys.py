"""Questions to the side table of a run, as `refold.source.slices` asks them of the log.

A key that is a function is not in the events. Where a run has computed its keys, they are beside
the events in `refold.store.side_keys`: statements in key order join the two, and what is only about
keys is asked of the side table alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Table,
    any_,
    exists,
    func,
    literal,
    select,
    tablesample,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.key import Key
from refold.projection.keys.stored import StoredPart
from refold.source.port.current import events
from refold.source.reader import key_range, listed_keys, not_at, one_of, range_of
from refold.source.selection import lacking_row
from refold.source.slices import Bounds
from refold.store.side_keys.tables import SideTable

# A side table of up to so many positions is read whole; of a larger one, a few pages are enough.
_SAMPLE = 50_000


async def bounds(connection: AsyncConnection, side: SideTable, *, upto: int, slices: int) -> Bounds:
    """Ranges that cover all keys, about equal in events; see `refold.source.slices.key_bounds`.

    Args:
        connection: Any connection.
        side: The side table.
        upto: Only positions up to this (inclusive) count.
        slices: How many ranges to aim at.
    """
    if slices <= 1:
        return [(None, None)]
    relation = await _sampled(connection, side)
    names = [f"k{index}" for index in range(len(side.parts))]
    columns = [relation.c[name] for name in names]
    bucket = func.ntile(slices).over(order_by=columns).label("bucket")
    inner = (
        select(*columns, bucket)
        .where(relation.c.position <= upto, relation.c.k0.is_not(None))
        .subquery()
    )
    keys = [inner.c[name] for name in names]
    statement = (
        select(*keys)
        .ext(distinct_on(inner.c.bucket))
        .order_by(inner.c.bucket, *[key.desc() for key in keys])
    )
    highest = [_key(row) for row in await connection.execute(statement)]
    cuts = list(dict.fromkeys(highest[:-1]))
    return list(zip([None, *cuts], [*cuts, None], strict=True))


async def totals(
    connection: AsyncConnection,
    side: SideTable,
    ranges: Bounds,
    *,
    upto: int,
    among: Select[Any] | None,
    passed_over: Sequence[int],
) -> list[int]:
    """How many events each range of keys has up to a position; of some keys only, if given."""
    read = [*_known(side, upto), *not_at(passed_over, side.keys)]
    if among is not None:
        read.append(one_of(side.parts, among))
    counts = [
        func.count().filter(side.has_key, *key_range(side.parts, low, high)) for low, high in ranges
    ]
    return list((await connection.execute(select(*counts).where(*read))).one())


async def misfits(
    connection: AsyncConnection, side: SideTable, *, upto: int, limit: int
) -> list[int]:
    """The first positions, in order, of events whose key does not fit."""
    position = side.keys.c.position
    found = select(position).where(position <= upto, ~side.has_key).order_by(position).limit(limit)
    return list((await connection.execute(found)).scalars())


async def fitting_within(
    connection: AsyncConnection,
    side: SideTable,
    positions: Sequence[int],
    low: Key | None,
    high: Key | None,
    *,
    among: Select[Any] | None,
) -> list[int]:
    """Those of these positions whose event has a key, with low < key <= high, and among these."""
    position = side.keys.c.position
    found = select(position).where(
        position == any_(literal(list(positions), ARRAY(BigInteger))),
        side.has_key,
        *key_range(side.parts, low, high),
    )
    if among is not None:
        found = found.where(one_of(side.parts, among))
    return list((await connection.execute(found.distinct())).scalars())


async def sample(
    connection: AsyncConnection,
    side: SideTable,
    *,
    upto: int,
    count: int,
    passed_over: Sequence[int],
) -> list[Key]:
    """Up to `count` keys, drawn at random; one with many events is more likely to be drawn."""
    relation = await _sampled(connection, side)
    columns = [relation.c[f"k{index}"] for index in range(len(side.parts))]
    found = (
        select(*columns)
        .where(relation.c.position <= upto, relation.c.k0.is_not(None))
        .where(*not_at(passed_over, relation))
        .distinct()
        .subquery()
    )
    rows = await connection.execute(select(*found.c).order_by(func.random()).limit(count))
    return [_key(row) for row in rows]


async def counts(
    connection: AsyncConnection, side: SideTable, keys: Sequence[Key], *, upto: int
) -> dict[Key, int]:
    """How many events each of these keys has up to a position."""
    columns = [part.stored for part in side.parts]
    statement = select(func.count(), *columns).where(*_known(side, upto), one_of(side.parts, keys))
    rows = await connection.execute(statement.group_by(*columns))
    return {_key(key): count for count, *key in rows}


async def positions(
    connection: AsyncConnection,
    side: SideTable,
    keys: Sequence[Key],
    *,
    upto: int,
    passed_over: Sequence[int],
) -> dict[Key, list[int]]:
    """The positions of these keys' events up to a position, ascending."""
    position = side.keys.c.position
    statement = select(position, *[part.stored for part in side.parts]).where(
        *_known(side, upto), one_of(side.parts, keys), *not_at(passed_over, side.keys)
    )
    found: dict[Key, list[int]] = {}
    for at, *key in await connection.execute(statement.order_by(position)):
        found.setdefault(_key(key), []).append(at)
    return found


async def within(
    connection: AsyncConnection,
    side: SideTable,
    keys: Iterable[Key],
    *,
    low: Key | None,
    high: Key | None,
    among: Select[Any] | None,
) -> set[Key]:
    """Those of these keys with low < key <= high, and among those that a statement finds."""
    asked = list(keys)
    if not asked:
        return set()
    given = listed_keys(side.parts, asked).subquery()
    kinds: list[Any] = [part.column.type for part in side.parts]
    columns = [
        column.collate(kind.collation) if getattr(kind, "collation", None) else column
        for column, kind in zip(given.c, kinds, strict=True)
    ]
    statement = select(*given.c).where(*range_of(columns, side.parts, low, high))
    if among is not None:
        wanted = among.subquery()
        same = [one == other for one, other in zip(columns, wanted.c, strict=True)]
        statement = statement.where(exists().where(*same))
    return {_key(row) for row in await connection.execute(statement)}


def is_keyed(side: SideTable) -> ColumnElement[bool]:
    """The condition for events that have a key."""
    keys = side.keys.alias()
    return exists().where(keys.c.position == events().c.position, keys.c.k0.is_not(None))


def lacks_row(side: SideTable, table: Table) -> ColumnElement[bool]:
    """The condition for events with a key that has no row in a table."""
    keys = side.keys.alias()
    parts = [StoredPart(part.column, keys.c[f"k{index}"]) for index, part in enumerate(side.parts)]
    return exists().where(keys.c.position == events().c.position, lacking_row(parts, table))


def without_events(
    side: SideTable, keys: Select[Any], *, low: Key | None, high: Key | None, upto: int
) -> Select[Any]:
    """Selects the keys with low < key <= high that have no event up to a position (inclusive)."""
    found = keys.distinct().subquery()
    columns = list(found.c)
    same = [column == part.stored for column, part in zip(columns, side.parts, strict=True)]
    return select(*columns).where(
        *range_of(columns, side.parts, low, high), ~exists().where(*_known(side, upto), *same)
    )


def _known(side: SideTable, upto: int) -> list[ColumnElement[bool]]:
    return [side.keys.c.position <= upto, side.has_key]


async def _sampled(connection: AsyncConnection, side: SideTable) -> Any:
    count = await connection.scalar(select(func.count()).select_from(side.keys)) or 0
    if count <= _SAMPLE:
        return side.keys
    return tablesample(side.keys, func.system(max(100 * _SAMPLE / count, 0.001)))


def _key(parts: Sequence[Any]) -> Key:
    return parts[0] if len(parts) == 1 else tuple(parts)
