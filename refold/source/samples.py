"""Draws some keys of the log at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select, tablesample
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.source.reader import keyed_events, not_at
from refold.store.schema import events

# Keys are drawn from pages with about so many events; if these have too few keys, from more.
_DRAWN_FROM = (50_000, 2_000_000)


async def sample_logged_keys(
    connection: AsyncConnection,
    projection: Projection,
    *,
    upto: int,
    count: int,
    passed_over: Sequence[int] = (),
) -> list[Key]:
    """Up to `count` keys of events that a projection reads, drawn at random.

    A key with many events is more likely to be drawn. Only some pages of a large log are read, so a
    projection of rare events may get fewer keys than there are.

    Args:
        connection: Any connection.
        projection: Any; one whose key is a function gets none (see `refold.source.oracle`).
        upto: Only positions up to this (inclusive).
        count: How many keys at most.
        passed_over: The positions of events that are left out.
    """
    paths = projection.key_paths
    if paths is None:
        return []
    keys: list[Key] = []
    for size in _DRAWN_FROM:
        found = _found(projection, upto, size, passed_over)
        rows = await connection.execute(found.order_by(func.random()).limit(count))
        keys = [_key(row) for row in rows]
        if len(keys) == count or size >= upto:
            break
    return keys


def _found(projection: Projection, upto: int, size: int, passed_over: Sequence[int]) -> Select[Any]:
    """The keys of the events on the pages of about `size` events."""
    assert projection.key_paths is not None
    source: Any = events
    if upto > size:
        source = tablesample(events, func.system(max(100 * size / upto, 0.001)))
    columns = [path.sql(source).label(f"k{i}") for i, path in enumerate(projection.key_paths)]
    read = [
        source.c.position <= upto,
        *keyed_events(projection, source),
        *not_at(passed_over, source),
    ]
    found = select(*columns).where(*read).distinct().subquery()
    return select(*found.c)


def _key(row: Sequence[Any]) -> Key:
    parts = tuple(row)
    return parts[0] if len(parts) == 1 else parts
