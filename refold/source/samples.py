"""Draws some keys of the log at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.source.keyed import side_keys
from refold.source.port.elsewhere import reads_events
from refold.source.port.sampling import sampled
from refold.source.reader import key_columns, keyed_events, not_at
from refold.store.side_keys.tables import SideTable

# Keys are drawn from pages with about so many events; if these have too few keys, from more.
_DRAWN_FROM = (50_000, 2_000_000)


@reads_events
async def sample_logged_keys(
    connection: AsyncConnection,
    projection: Projection,
    *,
    upto: int,
    count: int,
    passed_over: Sequence[int] = (),
    side: SideTable | None = None,
) -> list[Key]:
    """Up to `count` keys of events that a projection reads, drawn at random.

    A key with many events is more likely to be drawn. Only some pages of a large log are read, so a
    projection of rare events may get fewer keys than there are.

    Args:
        connection: Any connection.
        projection: Any; one whose key is a function, and whose keys nobody has written down, gets
            none (see `refold.source.oracle`).
        upto: Only positions up to this (inclusive).
        count: How many keys at most.
        passed_over: The positions of events that are left out.
        side: Where the keys of a function are; None when nobody has written them down.
    """
    if side is not None:
        return await side_keys.sample(
            connection, side, upto=upto, count=count, passed_over=passed_over
        )
    paths = projection.key_paths
    if paths is None:
        return []
    keys: list[Key] = []
    for size in _DRAWN_FROM:
        source, is_whole = await sampled(connection, upto=upto, size=size)
        found = _found(projection, source, upto, passed_over)
        rows = await connection.execute(found.order_by(func.random()).limit(count))
        keys = [_key(row) for row in rows]
        if len(keys) == count or is_whole:
            break
    return keys


def _found(
    projection: Projection, source: Any, upto: int, passed_over: Sequence[int]
) -> Select[Any]:
    """The keys of the sampled events."""
    assert projection.key_paths is not None
    keys = key_columns(projection.key_paths, source)
    columns = [column.label(f"k{i}") for i, column in enumerate(keys)]
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
