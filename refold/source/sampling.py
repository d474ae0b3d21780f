"""Folding some keys again from their events, in plain Python: what their rows must be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import sample
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, tablesample
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.dead_letters import HeldKeys
from refold.fold import fold_setting_aside
from refold.key import Key
from refold.projection import Projection, Row
from refold.source.log import count_events
from refold.source.reader import (
    in_key_order,
    key_columns,
    keyed_events,
    not_at,
    one_of,
    read_events,
    read_window,
)
from refold.store.schema import events
from refold.threads import Hand, in_thread

MOST_EVENTS = 20_000
"""Events that are folded again at most, over all keys: they are held in memory."""

MOST_EVENTS_OF_A_KEY = 10_000
"""A key with more events is passed over."""

# Keys are drawn from the pages of about so many events; if these have too few, of more.
_DRAWN_FROM = (50_000, 2_000_000)


@dataclass(frozen=True)
class Folded:
    """What keys must be.

    Attributes:
        rows: For each key that was folded its row, or None for no row.
        note: Why keys were passed over; None when none was.
    """

    rows: dict[Key, Row | None]
    note: str | None = None


async def sample_logged_keys(
    connection: AsyncConnection,
    projection: Projection,
    *,
    upto: int,
    count: int,
    passed_over: Sequence[int] = (),
) -> list[Key]:
    """Up to `count` keys of events that a projection reads, drawn at random.

    Keys with many events are drawn rather than others. Of a large log only some pages are read, so
    that a projection of rare events may get fewer keys than there are.

    Args:
        connection: Any connection.
        projection: Any; one whose key is a function gets none (see `folded_again`).
        upto: Only positions up to this (inclusive).
        count: How many keys at most.
        passed_over: Not of the events at these positions.
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


async def folded_again(
    connection: AsyncConnection,
    projection: Projection,
    keys: Iterable[Key],
    *,
    upto: int,
    passed_over: Sequence[int] = (),
    held: HeldKeys | None = None,
) -> Folded:
    """Folds all events of some keys by `Projection.fold`.

    A key function cannot be asked for the events of a key. The whole log is folded then if the
    projection reads at most `MOST_EVENTS` of it, and as many keys as were asked for are added at
    random from what comes out; nothing is folded if it reads more.

    Args:
        connection: In the transaction in which the rows are read.
        projection: The projection.
        keys: Which keys, the most wanted first.
        upto: Only positions up to this (inclusive).
        passed_over: Not the events at these positions.
        held: Keys that are held for a dead letter: they are left out.

    Raises:
        PoisonEvent: An event that a handler or the key cannot take.
        UnreadableEvent: An event whose JSON cannot be read.
    """
    held = held or HeldKeys()
    wanted = [key for key in dict.fromkeys(keys) if key not in held]
    if projection.key_paths is None:
        return await _whole_log(
            connection, projection, wanted, upto, passed_over=passed_over, held=held
        )
    if not wanted:
        return Folded({})
    among = one_of(projection.key_paths, wanted)
    chosen, note = _affordable(wanted, await _counts(connection, projection, among, upto))
    if not chosen:
        return Folded({}, note)
    statement = in_key_order(
        projection,
        after=0,
        upto=upto,
        low=None,
        high=None,
        among=chosen,
        passed_over=passed_over,
    )
    # In key order, not in position order: an event has one key, so each fold sees the same.
    hand = Hand(projection.name)
    read = await read_events(connection, statement)
    rows = await in_thread(lambda: projection.fold(hand.each(read)), hand=hand)
    return Folded({key: rows.get(key) for key in chosen}, note)


def _affordable(wanted: list[Key], counts: dict[Key, int]) -> tuple[list[Key], str | None]:
    chosen = []
    left = MOST_EVENTS
    for key in wanted:
        count = counts.get(key, 0)
        if count <= min(MOST_EVENTS_OF_A_KEY, left):
            chosen.append(key)
            left -= count
    passed = len(wanted) - len(chosen)
    if not passed:
        return chosen, None
    were = "1 key was" if passed == 1 else f"{passed:,} keys were"
    return chosen, f"{were} not folded again: too many events."


async def _counts(
    connection: AsyncConnection, projection: Projection, among: ColumnElement[bool], upto: int
) -> dict[Key, int]:
    assert projection.key_paths is not None
    columns = key_columns(projection.key_paths)
    # Grouped outside: with parameters in them, PostgreSQL takes an expression that is selected and
    # the same one that is grouped by for two.
    inner = (
        select(*[column.label(f"k{i}") for i, column in enumerate(columns)])
        .where(
            events.c.position <= upto,
            *keyed_events(projection),
            among,
        )
        .subquery()
    )
    statement = select(func.count(), *inner.c).group_by(*inner.c)
    rows = await connection.execute(statement)
    return {_key(key): count for count, *key in rows}


async def _whole_log(
    connection: AsyncConnection,
    projection: Projection,
    wanted: list[Key],
    upto: int,
    *,
    passed_over: Sequence[int],
    held: HeldKeys,
) -> Folded:
    types = projection.event_types
    since = projection.start_from
    count = await count_events(connection, types=types, upto=upto, since=since)
    if count > MOST_EVENTS:
        return Folded(
            {},
            f"No key was folded again: the key is a function, and {count:,} events are too many to "
            "fold them all.",
        )
    read = await read_window(
        connection,
        types=types,
        after=0,
        upto=upto,
        limit=MOST_EVENTS,
        since=since,
        passed_over=passed_over,
    )
    # Who is held is left out; but for them nothing is poison.
    hand = Hand(projection.name)
    fold = fold_setting_aside if held else Projection.fold
    rows = await in_thread(lambda: fold(projection, hand.each(read)), hand=hand)
    others = [key for key in rows.keys() - set(wanted) if key not in held]
    drawn = sample(others, min(len(others), max(len(wanted), 1)))
    return Folded({key: rows.get(key) for key in [*wanted, *drawn]})


def _key(row: Sequence[Any]) -> Key:
    parts = tuple(row)
    return parts[0] if len(parts) == 1 else parts
