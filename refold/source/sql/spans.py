"""The select of a projection that is said in SQL, over some of the events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, FromClause, Integer, Select, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import visitors

from refold.projection.columns.declared import written_columns
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.projection.sql.declaration import SqlProjection
from refold.projection.sql.key_of_select import key_names
from refold.source.port.current import event_source, events
from refold.source.port.sampling import sampled
from refold.source.reader import at, key_columns, key_range, keyed_events, not_at, one_of, range_of

_OWN = ("position", "stream_id", "version", "type", "data", "metadata", "recorded_at", "tenant")

# A log of up to this many events is read whole for cuts; of a larger one, a few pages.
_SAMPLE = 50_000


@dataclass(frozen=True)
class Span:
    """Which events a select is given: of whole keys, unless `after` is given.

    Attributes:
        upto: Only positions up to this (inclusive).
        after: Only positions above this (exclusive); None for all.
        low: Only keys above this (exclusive); None for no bound.
        high: Only keys up to this (inclusive); None for no bound.
        among: Only these keys, or those that a statement finds; None for all.
        passed_over: The positions of events that are left out.
        only: Only events at these positions; None for all.
    """

    upto: int
    after: int | None = None
    low: Key | None = None
    high: Key | None = None
    among: Sequence[Key] | Select[Any] | None = None
    passed_over: Sequence[int] = field(default_factory=tuple)
    only: Sequence[int] | None = None


def events_of(projection: Projection, span: Span) -> FromClause:
    """The events of a span that the projection reads, with the parts of their keys."""
    paths, source = projection.key_paths, event_source()
    assert paths is not None
    columns = [column for column in events().c if column.name in _OWN]
    if source.type_prefix:
        begin: Any = literal_column(str(len(source.type_prefix) + 1), Integer)
        columns = [
            func.substr(column, begin, type_=column.type).label("type")
            if column.name == "type"
            else column
            for column in columns
        ]
    keys = [
        column.label(name)
        for column, name in zip(key_columns(paths), key_names(len(paths)), strict=True)
    ]
    statement = select(*columns, *keys).where(
        events().c.position > (source.before if span.after is None else span.after),
        events().c.position <= span.upto,
        *keyed_events(projection),
        *key_range(paths, span.low, span.high),
        *not_at(span.passed_over),
    )
    if span.among is not None:
        statement = statement.where(one_of(paths, span.among))
    if span.only is not None:
        statement = statement.where(at(span.only))
    return statement.subquery("events")


def rows_of(projection: SqlProjection, span: Span) -> Select[Any]:
    """The rows that the projection's select makes of a span, with the table's columns in order."""
    relation = events_of(projection, span)
    ours = {one.key for one in visitors.iterate(relation) if isinstance(one, BindParameter)}
    said, places = projection.select(relation)
    made = list(with_literals(said, ours).subquery("rows").c)
    names = [str(column.name) for column in written_columns(projection.table)]
    return select(*[made[at].label(name) for at, name in zip(places, names, strict=True)])


def with_literals(statement: Select[Any], ours: set[str]) -> Select[Any]:
    """The statement with its constants as literals, but for those named in `ours`.

    PostgreSQL takes an expression with a parameter and its copy in GROUP BY for two different ones.
    """

    def literal(one: BindParameter[Any]) -> None:
        if one.key not in ours and isinstance(one.value, str | int | float | tuple):
            one.literal_execute = True

    made: Select[Any] = visitors.cloned_traverse(statement, {}, {"bindparam": literal})
    return made


def keys_of(projection: Projection, span: Span) -> Select[Any]:
    """The keys of a span, each with the number of its events."""
    relation = events_of(projection, span)
    assert projection.key_paths is not None
    parts = [relation.c[name] for name in key_names(len(projection.key_paths))]
    return select(*parts, func.count().label("events")).group_by(*parts)


async def cuts(
    connection: AsyncConnection, projection: Projection, span: Span, *, total: int, size: int
) -> list[tuple[Key | None, int]]:
    """Where to cut the keys of a span, for pieces of about `size` events.

    Args:
        connection: Any connection.
        projection: One whose key is made of paths.
        span: A range of keys.
        total: How many events it has.
        size: How many events a piece has at least, as far as they can be told apart.

    Returns:
        The highest key of each piece (inclusive; None for the last, which has all above) and about
        how many events it has; `total` together.
    """
    if total <= size:
        return [(None, total)]
    paths = projection.key_paths
    assert paths is not None
    source, is_whole = await sampled(connection, upto=span.upto, size=_SAMPLE)
    columns = [column.label(f"k{i}") for i, column in enumerate(key_columns(paths, source))]
    read = [source.c.position <= span.upto, *keyed_events(projection, source)]
    found = select(*columns).where(*read, *not_at(span.passed_over, source)).subquery()
    counted = (
        select(*found.c, func.count())
        .where(*range_of(list(found.c), paths, span.low, span.high))
        .group_by(*found.c)
        .order_by(*found.c)
    )
    keys = [(_key(parts), count) for *parts, count in await connection.execute(counted)]
    drawn = sum(count for _, count in keys)
    share = 1.0 if is_whole else total / max(drawn, 1)
    made: list[tuple[Key | None, int]] = []
    piece, left = 0.0, total
    for key, count in keys[:-1]:
        piece += count * share
        if piece >= size:
            taken = min(round(piece), left)
            made.append((key, taken))
            piece, left = 0.0, left - taken
    return [*made, (None, left)]


def _key(parts: Sequence[Any]) -> Key:
    return parts[0] if len(parts) == 1 else tuple(parts)
