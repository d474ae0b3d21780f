"""Finds events whose key does not fit its column, and those of them that fit after all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent
from refold.projection.dead_letters import Letter
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.source.event_sizes import read_chunks
from refold.source.port.current import events
from refold.source.port.elsewhere import reads_events
from refold.source.reader import (
    at,
    key_columns,
    key_range,
    keyed_events,
    misfit_of,
    not_at,
    one_of,
    wanted,
)
from refold.store.schema import selected_keys


def is_misfit(projection: Projection) -> ColumnElement[bool]:
    """The condition for events whose key does not fit; the key is made of paths."""
    assert projection.key_paths is not None
    return misfit_of(projection.key_paths)


@reads_events
async def find_misfits(
    connection: AsyncConnection,
    projection: Projection,
    *,
    upto: int,
    passed_over: Sequence[int] = (),
    among: Select[Any] | Sequence[Key] | None = None,
    limit: int,
) -> list[Letter]:
    """The first events whose key does not fit, as letters without a key.

    Args:
        connection: In a transaction.
        projection: One whose key is made of paths.
        upto: Only positions up to this (inclusive).
        passed_over: The positions of events that are left out.
        among: Only events of these keys, or of those that a statement finds; None for all.
        limit: How many at most.
    """
    statement = (
        select(events().c.position)
        .where(
            events().c.position <= upto,
            *wanted(projection.event_types, projection.start_from),
            is_misfit(projection),
            *not_at(passed_over),
            *([] if among is None else [one_of(projection.key_paths or (), among)]),
        )
        .order_by(events().c.position)
        .limit(limit)
    )
    positions = list((await connection.execute(statement)).scalars())
    return await letters_at(connection, projection, positions)


async def letters_at(
    connection: AsyncConnection, projection: Projection, positions: Sequence[int]
) -> list[Letter]:
    """Letters without a key for those of these events whose key does not fit."""
    found = []
    async for chunk in read_chunks(connection, positions):
        for event in chunk:
            try:
                projection.rows.keys_of(event)
            except PoisonEvent as poison:
                found.append(Letter.of(poison))
    return found


@reads_events
async def still_misfits(
    connection: AsyncConnection, projection: Projection, positions: Sequence[int]
) -> list[int]:
    """Those of these positions whose event's key does not fit."""
    if not positions or projection.key_paths is None:
        return list(positions)
    statement = select(events().c.position).where(at(positions), is_misfit(projection))
    return list((await connection.execute(statement)).scalars())


@reads_events
async def fitting_within(
    connection: AsyncConnection,
    projection: Projection,
    positions: Sequence[int],
    low: Key | None,
    high: Key | None,
    *,
    selected_by: str | None = None,
    among: Sequence[Key] | None = None,
) -> list[int]:
    """Those of these positions whose event has a key that fits, with low < key <= high.

    Args:
        connection: In a transaction.
        projection: One whose key is made of paths.
        positions: Which events.
        low: Only keys above this (exclusive); None for no bound.
        high: Only keys up to this (inclusive); None for no bound.
        selected_by: Only keys that this run repairs, in ``refold.selected_keys``; None for all.
        among: Only these keys; None for all. Where events are in another database, in its place.
    """
    paths = projection.key_paths
    assert paths is not None
    condition = [
        at(positions),
        *keyed_events(projection),
        ~is_misfit(projection),
        *key_range(paths, low, high),
    ]
    if selected_by is not None:
        stored: Any = func.jsonb_build_array(*key_columns(paths))
        mine = select(selected_keys.c.key).where(selected_keys.c.run_id == selected_by)
        condition.append(stored.in_(mine))
    if among is not None:
        condition.append(one_of(paths, among))
    statement = select(events().c.position).where(*condition)
    return list((await connection.execute(statement)).scalars())
