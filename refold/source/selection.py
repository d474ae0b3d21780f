"""Selects events: turns what a backfill asks for into the events that name the keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, exists, false, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.messages.run.selection import Selection
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart
from refold.requests.criteria import Criteria
from refold.requests.runs import BackfillRequest
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import events_engine, reads_events, require_reached
from refold.source.portions import weighed
from refold.source.reader import (
    key_columns,
    keyed_events,
    one_of,
    range_of,
    require_times,
    wanted,
)
from refold.source.tenants import of_tenant

_KEYS_AT_ONCE = 5000


@reads_events
async def fixed(connection: AsyncConnection, asked: BackfillRequest, *, head: int) -> Selection:
    """Turns what is asked for into a range of positions that no longer depends on the moment.

    A date becomes a position, so that only the events between the first that is recorded late
    enough and the last that is recorded early enough are read. These events are then filtered by
    their dates, too, as dates need not ascend with positions.

    Args:
        connection: Any connection.
        asked: What is to be repaired.
        head: A settled position; what comes after is not selected.
    """
    criteria = asked.criteria
    assert criteria is not None
    await require_reached(connection, head)
    first, last = asked.from_position or 0, head
    from_date, to_date = asked.from_date, asked.to_date
    if asked.to_position is not None:
        last = min(asked.to_position, head)
    if criteria is Criteria.LAST_N_DAYS:
        assert asked.last_n is not None
        from_date = await _days_ago(connection, asked.last_n)
    if criteria is Criteria.LAST_N_EVENTS:
        assert asked.last_n is not None
        first = await _last_events(connection, asked.last_n, head)
    if from_date is not None or to_date is not None:
        require_times("from_date, to_date and last_n_days")
    if from_date is not None:
        earliest = select(func.min(events().c.position)).where(events().c.recorded_at >= from_date)
        found = await connection.scalar(earliest.where(events().c.position <= head))
        first = head + 1 if found is None else found
    if to_date is not None:
        latest = select(func.max(events().c.position)).where(events().c.recorded_at < to_date)
        latest_found = await connection.scalar(latest.where(events().c.position <= head))
        last = event_source().before if latest_found is None else latest_found
    return Selection(
        criteria=criteria,
        from_position=first,
        to_position=last,
        from_date=from_date,
        to_date=to_date,
        predicate=asked.predicate,
        predicate_name=asked.predicate_name,
        tenant=asked.tenant,
        missing=bool(asked.missing),
    )


async def _days_ago(connection: AsyncConnection, days: int) -> datetime | None:
    now: datetime | None = await connection.scalar(select(func.now()))
    assert now is not None
    try:
        return now - timedelta(days=days)
    except OverflowError:
        return None  # before there were any dates


async def _last_events(connection: AsyncConnection, count: int, head: int) -> int:
    """The position of the first of the last `count` events up to the head; 0 with fewer."""
    statement = select(events().c.position).where(events().c.position <= head)
    ordered = statement.order_by(events().c.position.desc()).offset(count - 1).limit(1)
    return await connection.scalar(ordered) or 0


def selected(
    projection: Projection, selection: Selection, tenant_path: str | None
) -> list[ColumnElement[bool]]:
    """The condition for the events that are selected; it leaves the predicate out.

    Args:
        projection: Only events of types that it reads, from where it begins.
        selection: Which events are meant.
        tenant_path: Where an event names its tenant; needed when the selection has a tenant.
    """
    conditions = wanted(projection.event_types, projection.start_from)
    if selection.from_position > selection.to_position:
        return [*conditions, false()]
    conditions.append(events().c.position >= selection.from_position)
    conditions.append(events().c.position <= selection.to_position)
    if selection.from_date is not None:
        conditions.append(events().c.recorded_at >= selection.from_date)
    if selection.to_date is not None:
        conditions.append(events().c.recorded_at < selection.to_date)
    if selection.tenant is not None:
        conditions.append(of_tenant(selection.tenant, tenant_path))
    return conditions


def lacking_row(paths: Sequence[KeyPart], table: Table) -> ColumnElement[bool]:
    """The condition for events whose key has no row in a table."""
    pairs = zip(table.primary_key.columns, key_columns(paths), strict=True)
    return ~exists().where(*[column == part for column, part in pairs])


def one_by_one(conditions: list[ColumnElement[bool]]) -> Select[Any]:
    """The events that a condition finds, in order of position, for `refold.source.reader`."""
    return select(weighed()).where(*conditions).order_by(events().c.position)


@reads_events
async def count_selected(connection: AsyncConnection, conditions: list[ColumnElement[bool]]) -> int:
    """How many events a condition finds."""
    counted = await connection.scalar(select(func.count()).select_from(events()).where(*conditions))
    assert counted is not None
    return counted


async def found_keys(
    connection: AsyncConnection,
    projection: Projection,
    conditions: list[ColumnElement[bool]],
    *,
    upto: int,
) -> AsyncGenerator[dict[Key, int], None]:
    """The keys of the events that a condition finds, and how many events each has, some at a time.

    Args:
        connection: To the read models, whose database has not the events.
        projection: One whose key is made of paths.
        conditions: Which events; those without a key have none.
        upto: The last position that is looked at (inclusive).
    """
    columns = key_columns(projection.key_paths or ())
    has_key = [column.is_not(None) for column in columns]
    labelled = [column.label(f"k{i}") for i, column in enumerate(columns)]
    # Grouped in an outer query, as an expression with parameters is not its own copy.
    inner = select(*labelled).where(*conditions, *has_key).subquery()
    statement = select(func.count(), *inner.c).group_by(*inner.c)
    async with events_engine(connection.engine).connect() as there:
        await require_reached(there, upto)
        result = await there.stream(statement)
        async for rows in result.partitions(_KEYS_AT_ONCE):
            yield {key[0] if len(key) == 1 else tuple(key): count for count, *key in rows}


@reads_events
async def having_events(
    connection: AsyncConnection, projection: Projection, keys: Sequence[Key], *, upto: int
) -> set[Key]:
    """Those of these keys that have an event up to a position (inclusive)."""
    paths = projection.key_paths
    assert paths is not None
    await require_reached(connection, upto)
    named = [events().c.position <= upto, *keyed_events(projection), one_of(paths, keys)]
    rows = await connection.execute(select(*key_columns(paths)).where(*named).distinct())
    return {row[0] if len(row) == 1 else tuple(row) for row in rows}


def without_events(
    projection: Projection, keys: Select[Any], *, low: Key | None, high: Key | None, upto: int
) -> Select[Any]:
    """Selects the keys with low < key <= high that have no event up to a position (inclusive)."""
    paths = projection.key_paths
    assert paths is not None
    found = keys.distinct().subquery()
    columns = list(found.c)
    named = [events().c.position <= upto, *keyed_events(projection)]
    same = [column == part for column, part in zip(columns, key_columns(paths), strict=True)]
    return select(*columns).where(
        *range_of(columns, paths, low, high), ~exists().where(*named, *same)
    )
