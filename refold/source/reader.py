"""Reads the log: in key order for Refold, in position order for Follow."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    all_,
    any_,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import InvalidRequest, UnreadableEvent
from refold.event import Event
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.keys.part import KeyPart, paths_read
from refold.projection.narrowed.sent_event import WHOLE, Sent
from refold.runtime.database import compiled, raw
from refold.source.decoding import decoded
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import in_order, reads_events, require_reached
from refold.source.portions import in_portions, weighed
from refold.store.side_keys.tables import SideTable


def wanted(
    types: Sequence[str] | None, since: datetime | None, source: Any = None
) -> list[ColumnElement[bool]]:
    """The condition for events of these types (None: all), recorded at a moment or later, if given.

    Raises:
        InvalidRequest: The event source does not know when events were recorded.
    """
    relation = events() if source is None else source
    stored = event_source().stored_types(types or ())
    conditions: list[ColumnElement[bool]] = [] if types is None else [relation.c.type.in_(stored)]
    if since is not None:
        require_times("start_from")
        conditions.append(relation.c.recorded_at >= since)
    return conditions


def require_times(asked: str) -> None:
    """Refuses what is asked by date of a source that has no times in SQL.

    Raises:
        InvalidRequest: It has none.
    """
    source = event_source()
    if not source.has_times:
        raise InvalidRequest(
            f"{asked}: expected a column that says when events were recorded, and {source!r} has "
            "none: select by position, or give it `recorded_at`"
        )


# -- in position order -----------------------------------------------------------------------


async def read_window(
    connection: AsyncConnection,
    *,
    types: Sequence[str] | None,
    after: int,
    upto: int,
    limit: int,
    since: datetime | None = None,
    passed_over: Sequence[int] = (),
) -> list[Event]:
    """Up to `limit` events of these types with after < position <= upto, in position order.

    With `since`, only events recorded at that moment or later. Those at the positions
    `passed_over` are left out.
    """
    statement = in_position_order(
        types=types, upto=upto, after=after, since=since, passed_over=passed_over
    )
    return await read_events(connection, statement.limit(limit))


def in_position_order(
    *,
    types: Sequence[str] | None,
    upto: int | None = None,
    after: int | None = None,
    since: datetime | None = None,
    passed_over: Sequence[int] = (),
    sent: Sent = WHOLE,
) -> Select[Any]:
    """Events of these types with after < position <= upto in position order, for `decoded`.

    None leaves a side open.
    """
    position = events().c.position
    statement = select(weighed(sent=sent)).where(*wanted(types, since), *not_at(passed_over))
    if upto is not None:
        statement = statement.where(position <= upto)
    if after is not None:
        statement = statement.where(position > after)
    return statement.order_by(position)


async def read_at(connection: AsyncConnection, positions: Sequence[int]) -> list[Event]:
    """The events at these positions, in order; positions without an event are left out."""
    if not positions:
        return []
    statement = select(weighed()).where(at(positions))
    return await read_events(connection, statement.order_by(events().c.position))


def at(positions: Sequence[int]) -> ColumnElement[bool]:
    """The condition for events at these positions."""
    column: ColumnElement[int] = events().c.position
    return column == any_(literal(list(positions), ARRAY(BigInteger)))


def not_at(positions: Sequence[int], source: Any = None) -> list[ColumnElement[bool]]:
    """The condition for events at other positions than these; empty when there are none."""
    if not positions:
        return []
    relation = events() if source is None else source
    return [relation.c.position != all_(literal(list(positions), ARRAY(BigInteger)))]


@reads_events
async def read_events(
    connection: AsyncConnection, statement: Select[Any], *, upto: int | None = None
) -> list[Event]:
    """All events of a statement that this module made; `upto` is as for `reading`."""
    await require_reached(connection, upto)
    sql, arguments = compiled(statement)
    driver = await raw(connection)
    read: list[Event] = []
    async for texts in in_portions(driver, await driver.fetch(sql, *arguments)):
        read += as_events(texts)
    return read


def as_events(texts: Sequence[str]) -> list[Event]:
    """Events as JSON, from statements made here, decoded."""
    return [
        Event(position, stream_id, version, kind, data, metadata, _instant(position, at))
        for position, stream_id, version, kind, data, metadata, at, *_ in decoded(texts)
    ]


def _instant(position: int, at: str) -> datetime:
    try:
        return datetime.fromisoformat(at)
    except ValueError:
        raise UnreadableEvent.timed(position, at) from None


# -- in key order ----------------------------------------------------------------------------


def key_columns(paths: Sequence[KeyPart], source: Any = None) -> list[ColumnElement[Any]]:
    """The key's parts as SQL expressions over events; those of the source if none are given."""
    relation = events() if source is None else source
    return [path.sql(relation, event_source().type_prefix) for path in paths]


def misfit_of(paths: Sequence[KeyPart]) -> ColumnElement[bool]:
    """The condition for events whose key does not fit, or cannot be read."""
    source = event_source()
    misfits = [path.misfits(source.events, source.type_prefix) for path in paths]
    condition: ColumnElement[bool] = or_(*misfits, *source.broken(paths_read(paths)))
    return condition


def _compare(
    columns: Sequence[ColumnElement[Any]], paths: Sequence[KeyPart], key: Key
) -> tuple[Any, Any]:
    columns = in_order(columns, paths)
    parts = key if isinstance(key, (tuple, list)) else (key,)
    values = [literal(part, path.column.type) for path, part in zip(paths, parts, strict=True)]
    if len(columns) == 1:
        return columns[0], values[0]
    return tuple_(*columns), tuple_(*values)


def key_range(
    paths: Sequence[KeyPart], low: Key | None, high: Key | None
) -> list[ColumnElement[bool]]:
    """The condition low < key <= high for events; None leaves a side open."""
    return range_of(key_columns(paths), paths, low, high)


def range_of(
    columns: Sequence[ColumnElement[Any]],
    paths: Sequence[KeyPart],
    low: Key | None,
    high: Key | None,
) -> list[ColumnElement[bool]]:
    """The condition low < key <= high, for keys whose parts are in these columns."""
    conditions: list[ColumnElement[bool]] = []
    if low is not None:
        left, right = _compare(columns, paths, low)
        conditions.append(left > right)
    if high is not None:
        left, right = _compare(columns, paths, high)
        conditions.append(left <= right)
    return conditions


def one_of(paths: Sequence[KeyPart], keys: Sequence[Key] | Select[Any]) -> ColumnElement[bool]:
    """The condition for events of these keys, or of those that a statement finds."""
    columns = key_columns(paths)
    left: Any = columns[0] if len(columns) == 1 else tuple_(*columns)
    among = keys if isinstance(keys, Select) else listed_keys(paths, keys)
    condition: ColumnElement[bool] = left.in_(among)
    return condition


def listed_keys(paths: Sequence[KeyPart], keys: Sequence[Key]) -> Select[Any]:
    """The statement that gives these keys back."""
    parts = [key if len(paths) > 1 else (key,) for key in keys]
    # An array for each path: a list of values would run into the limit of 32,767 parameters.
    arrays = [
        literal([part[i] for part in parts], ARRAY(path.column.type))
        for i, path in enumerate(paths)
    ]
    listed = func.unnest(*arrays).table_valued(*[f"k{i}" for i in range(len(paths))])
    return select(*listed.render_derived().c)


def keyed_events(projection: Projection, source: Any = None) -> list[ColumnElement[bool]]:
    """The condition for events that a projection whose key is made of paths reads."""
    assert projection.key_paths is not None
    has_key = [column.is_not(None) for column in key_columns(projection.key_paths, source)]
    return [*wanted(projection.event_types, projection.start_from, source), *has_key]


def written_keys(side: SideTable) -> list[ColumnElement[bool]]:
    """The conditions that join events with the keys that a function has made of them."""
    return [side.keys.c.position == events().c.position, side.has_key]


def in_key_order(
    projection: Projection,
    *,
    after: int | None = None,
    upto: int,
    low: Key | None,
    high: Key | None,
    resume: tuple[Key, int] | None = None,
    among: Sequence[Key] | Select[Any] | None = None,
    passed_over: Sequence[int] = (),
    side: SideTable | None = None,
    sent: Sent = WHOLE,
) -> Select[Any]:
    """Events ordered by key and position, for `decoded`; once for each key that an event has.

    Args:
        projection: One whose key is made of paths, or a function whose keys are written down.
        after: Only positions above this (exclusive); None for no bound.
        upto: Only positions up to this (inclusive).
        low: Only keys above this (exclusive); None for no bound.
        high: Only keys up to this (inclusive); None for no bound.
        resume: Within the key `resume[0]`, only positions above `resume[1]`; later keys whole.
        among: Only these keys, or those that a statement finds; None for all.
        passed_over: The positions of events that are left out.
        side: Where the keys of a function are.
        sent: What is sent of each event; see `sent_of`.
    """
    paths = projection.key_paths if side is None else side.parts
    assert paths is not None
    columns = in_order(key_columns(paths), paths)
    names = [f"k{i}" for i in range(len(columns))]
    labelled = [column.label(name) for column, name in zip(columns, names, strict=True)]
    columns_read = [events().c[name] for name in event_source().fields.carried(sent)]
    statement = select(*columns_read, *labelled).where(
        events().c.position > (event_source().before if after is None else after),
        events().c.position <= upto,
        *(keyed_events(projection) if side is None else written_keys(side)),
        *key_range(paths, low, high),
        *not_at(passed_over),
    )
    if resume is not None:
        resumed_key, position = resume
        left, right = _compare(columns, paths, resumed_key)
        past = (left == right) & (events().c.position > position)
        statement = statement.where((left > right) | past)
    if among is not None:
        statement = statement.where(one_of(paths, among))
    # Sorted first, then made JSON: while Python folds an event, PostgreSQL makes JSON of the next.
    found = statement.order_by(*columns, events().c.position).offset(0).subquery()
    keys = [found.c[name] for name in names]
    key = keys[0] if len(keys) == 1 else func.json_build_array(*keys)
    apart = [key] if sent.has_key_apart else []
    return select(weighed(found, *apart, sent=sent)).order_by(*keys, found.c.position)
