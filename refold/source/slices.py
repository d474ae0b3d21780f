"""Cuts the log into slices of keys that are balanced by events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, false, func, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent, UnreadableEvent
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.keys.part import paths_read
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import in_order, reads_events
from refold.source.port.sampling import sampled
from refold.source.reader import (
    key_columns,
    key_range,
    keyed_events,
    misfit_of,
    not_at,
    one_of,
    wanted,
)

Bounds = list[tuple[Key | None, Key | None]]
"""Ranges of keys, each above the first key (exclusive) up to the second (inclusive); None: open."""

# A log of up to this many events is read whole; of a larger one, a few whole pages are enough.
_SAMPLE = 50_000


@reads_events
async def key_bounds(
    connection: AsyncConnection, projection: Projection, *, upto: int, slices: int
) -> Bounds:
    """Ranges that cover all keys, about equal in events.

    Args:
        connection: Any connection.
        projection: One whose key is made of paths.
        upto: Only positions up to this (inclusive) count.
        slices: How many ranges to aim at; fewer when single keys are large.
    """
    paths = projection.key_paths
    assert paths is not None
    cuts: list[Key] = []
    if slices > 1:
        cuts = await _cuts(connection, projection, upto, slices)
    return list(zip([None, *cuts], [*cuts, None], strict=True))


async def _cuts(
    connection: AsyncConnection, projection: Projection, upto: int, slices: int
) -> list[Key]:
    paths = projection.key_paths
    assert paths is not None
    source, _ = await sampled(connection, upto=upto, size=_SAMPLE)
    names = [f"k{i}" for i in range(len(paths))]
    parts = in_order(key_columns(paths, source), paths)
    columns = [part.label(name) for part, name in zip(parts, names, strict=True)]
    bucket = func.ntile(slices).over(order_by=columns).label("bucket")
    inner = (
        select(*columns, bucket)
        .where(source.c.position <= upto, *keyed_events(projection, source))
        .subquery()
    )
    keys = [inner.c[name] for name in names]
    statement = (
        select(*keys)
        .ext(distinct_on(inner.c.bucket))
        .order_by(inner.c.bucket, *[key.desc() for key in keys])
    )
    rows = [tuple(row) for row in await connection.execute(statement)]
    highest = [row[0] if len(row) == 1 else row for row in rows]
    # The last bucket is open above; a key that fills several buckets cuts once.
    return list(dict.fromkeys(highest[:-1]))


@reads_events
async def slice_totals(
    connection: AsyncConnection,
    projection: Projection,
    bounds: Bounds,
    *,
    upto: int,
    among: Select[Any] | Sequence[Key] | None = None,
    passed_over: Sequence[int] = (),
) -> list[int]:
    """How many events each range has, up to a position (inclusive); of some keys only, if given.

    Those at the positions `passed_over` do not count.

    Raises:
        PoisonEvent: An event's key does not fit its column.
    """
    paths = projection.key_paths
    assert paths is not None
    read = [
        events().c.position <= upto,
        *wanted(projection.event_types, projection.start_from),
        *not_at(passed_over),
    ]
    if among is not None:
        read.append(one_of(paths, among))
    misfit = misfit_of(paths)
    columns: list[ColumnElement[int]] = [func.count().filter(misfit)]
    has_key = [column.is_not(None) for column in key_columns(paths)]
    for low, high in bounds:
        columns.append(func.count().filter(*has_key, *key_range(paths, low, high)))
    misfits, *totals = (await connection.execute(select(*columns).where(*read))).one()
    if misfits:
        await raise_misfit(connection, projection, [*read, misfit])
    return list(totals)


@reads_events
async def count_keys(connection: AsyncConnection, projection: Projection, *, upto: int) -> int:
    """How many keys have an event up to a position (inclusive); reads them all."""
    paths = projection.key_paths
    assert paths is not None
    keys = select(*key_columns(paths)).where(events().c.position <= upto, *keyed_events(projection))
    counted = await connection.scalar(select(func.count()).select_from(keys.distinct().subquery()))
    assert counted is not None
    return counted


@reads_events
async def raise_misfit(
    connection: AsyncConnection, projection: Projection, condition: list[ColumnElement[bool]]
) -> None:
    """Raises for the first event that a condition finds, as one whose key does not fit.

    Raises:
        PoisonEvent: It does not fit.
        UnreadableEvent: It cannot be read.
    """
    assert projection.key_paths is not None
    columns = (events().c.position, events().c.type, events().c.stream_id)
    broken = event_source().broken(paths_read(projection.key_paths))
    is_broken = or_(false(), *broken).label("is_broken")
    statement = select(*columns, is_broken).where(*condition)
    first = (await connection.execute(statement.order_by(events().c.position).limit(1))).one()
    if first.is_broken:
        raise UnreadableEvent(
            f"event {first.position}: its JSON cannot be read: mend it, or leave it out of the "
            "EventSource with a WHERE"
        )
    event_type = event_source().type_of(first.type)
    parts = [part.for_type(event_type) for part in projection.key_paths]
    wanted = ", ".join(f"{part.path} as {part.column.name} {part.column.type!r}" for part in parts)
    raise PoisonEvent(
        projection.name,
        first.position,
        event_type,
        str(first.stream_id),
        f"its key does not fit: expected {wanted}",
    )
