"""Reads events from PostgreSQL in portions that are bounded by number and by bytes.

A driver that asks for a number of rows cannot know how large they will be. So light events travel
as they are found, and a marker with the size stands for each heavy event. The heavy event is read
when its turn comes, together with no more than fits in a portion.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import asyncpg
from asyncpg.cursor import Cursor
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.narrowed.sent_event import WHOLE, Sent
from refold.runtime.database import compiled, raw
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reading, reads_events, require_reached
from refold.store.sessions.event_readers import MARK

BATCH_BYTES = 8 << 20
"""A batch ends after so many bytes of events, as JSON, however few they are."""

PORTION_EVENTS = 1000
"""So many events are asked for at a time, at most."""

PORTION_BYTES = 4 << 20
"""So many bytes of JSON come at a time; one event that is larger comes alone."""

# What is read ahead and not wanted any more has so long to come.
_ENDING_SECONDS = 2.0

# Lighter events are not counted one by one: a thousand of them fit in a batch.
_LIGHT_BYTES = 8 << 10

# Memory for one statement's sort: a sort of a partition's events in memory is worth so much.
_SORT_MEMORY = "64MB"

# All rows will be read, so PostgreSQL is to plan for the last row, not for the first.
_READS = text(
    f"SELECT set_config('work_mem', '{_SORT_MEMORY}', true), "
    f"set_config('cursor_tuple_fraction', '1', true), {MARK}"
)


def weighed(source: Any = None, *key: ColumnElement[Any], sent: Sent = WHOLE) -> ColumnElement[str]:
    """An event as JSON, and its key if given; for a heavy one a marker: position, bytes, key.

    Args:
        source: A relation with the columns that the event source carries; None for its own.
        key: The parts of a key.
        sent: What is sent of the event.
    """
    fields = event_source().fields
    relation = events() if source is None else source
    large = fields.large(sent)
    if not large:
        return fields.as_json(relation, *key, sent=sent)
    light: ColumnElement[int] = literal_column(str(_LIGHT_BYTES))
    # PostgreSQL knows the size of a stored value without reading it, unless it is compressed.
    plain, stored = fields.stored(relation, large)
    size = fields.size(relation, large)
    fits = or_(and_(stored <= light, *plain), size <= light)
    # Literals: parameters would need a type.
    mark: ColumnElement[str] = literal_column("'!'")
    gap: ColumnElement[str] = literal_column("' '")
    keys = cast(func.json_build_array(*key), Text)
    marker = func.concat(mark, relation.c.position, gap, size, gap, keys)
    return case((fits, fields.as_json(relation, *key, sent=sent)), else_=marker)


async def in_portions(
    driver: asyncpg.Connection[Any], records: Sequence[Any]
) -> AsyncIterator[list[str]]:
    """The events of `weighed` records, as JSON; heavy ones are read in place of their markers."""
    texts = list(map(_TEXT, records))
    if not _has_heavy(texts):
        yield texts
        return
    async for portion in _filled(driver, texts, WHOLE):
        yield portion


_TEXT = itemgetter(0)


def _has_heavy(texts: Sequence[str]) -> bool:
    # A marker comes before all JSON, in order of characters.
    return min(texts, default="").startswith("!")


async def _filled(
    driver: asyncpg.Connection[Any], texts: Sequence[str], sent: Sent
) -> AsyncIterator[list[str]]:
    portion: list[str | _Marker] = []
    total = 0
    for json in texts:
        marker = _Marker.of(json)
        size = len(json) if marker is None else marker.size
        if portion and total + size > PORTION_BYTES:
            yield await _loaded(driver, portion, sent)
            portion, total = [], 0
        portion.append(marker or json)
        total += size
    yield await _loaded(driver, portion, sent)


@dataclass(frozen=True)
class _Marker:
    position: int
    size: int
    key: str

    @classmethod
    def of(cls, text: str) -> _Marker | None:
        if text[0] != "!":
            return None
        position, size, key = text[1:].split(" ", 2)
        return cls(int(position), int(size), key[1:-1])

    def filled(self, json: str) -> str:
        """The event's JSON, with its key as the last of its fields."""
        return f"{json[:-1]},{self.key}]" if self.key else json


async def _loaded(
    driver: asyncpg.Connection[Any], portion: list[str | _Marker], sent: Sent
) -> list[str]:
    positions = [item.position for item in portion if isinstance(item, _Marker)]
    found: dict[int, str] = {}
    if positions:
        source = event_source()
        these = source.events.c.position == any_(literal(positions, ARRAY(BigInteger)))
        columns = source.events.c.position, source.fields.as_json(source.events, sent=sent)
        sql, arguments = compiled(select(*columns).where(these))
        found = dict(await driver.fetch(sql, *arguments))
    return [
        item.filled(found[item.position]) if isinstance(item, _Marker) else item for item in portion
    ]


async def portions_of(
    connection: AsyncConnection,
    statement: Select[Any],
    *,
    upto: int | None = None,
    fetch: int = PORTION_EVENTS,
) -> AsyncIterator[list[str]]:
    """Runs a statement of `weighed`, up to a position, behind a cursor in the caller's transaction.

    Events in another database are read in a transaction there.
    """
    async with reading(connection, upto=upto) as there:
        driver = await raw(there)
        async with nullcontext() if driver.is_in_transaction() else driver.transaction():
            cursor = await _cursor(driver, statement)
            while records := await cursor.fetch(min(fetch, PORTION_EVENTS)):
                async for portion in in_portions(driver, records):
                    yield portion


async def _cursor(driver: asyncpg.Connection[Any], statement: Select[Any]) -> Cursor[Any]:
    sql, arguments = compiled(statement)
    return await (await driver.prepare(sql)).cursor(*arguments)


@asynccontextmanager
async def stream(
    connection: AsyncConnection,
    statement: Select[Any],
    *,
    fetch: int,
    sent: Sent = WHOLE,
    upto: int | None = None,
) -> AsyncIterator[AsyncIterator[list[str]]]:
    """Runs a statement behind a cursor, as lists of at most `fetch` events, as JSON.

    The connection, one of `events_engine`, is in a transaction of its own until the context ends:
    all is one snapshot. While a list is in use, PostgreSQL makes the next one.
    """
    async with connection.begin():
        await require_reached(connection, upto)
        await connection.execute(_READS)
        most = min(fetch, PORTION_EVENTS)
        async with aclosing(_ahead(connection, statement, most, sent)) as portions:
            yield portions


async def _ahead(
    connection: AsyncConnection, statement: Select[Any], fetch: int, sent: Sent
) -> AsyncGenerator[list[str], None]:
    """`portions_of`, reading ahead by one list; for a connection that nobody else uses."""
    driver = await raw(connection)
    cursor = await _cursor(driver, statement)
    records = await cursor.fetch(fetch)
    while records:
        texts = list(map(_TEXT, records))
        del records  # as large as their texts
        if _has_heavy(texts):
            # These are read on the same connection, and fill the memory that there is for a batch.
            async for portion in _filled(driver, texts, sent):
                yield portion
            records = await cursor.fetch(fetch)
            continue
        coming = asyncio.ensure_future(cursor.fetch(fetch))
        try:
            await asyncio.sleep(0)  # it asks for them now, as the loop may stand still soon
            yield texts
            records = await coming
        finally:
            await _end(coming)


async def _end(coming: asyncio.Future[Any]) -> None:
    """Leaves the connection to others, also when what was asked for is not wanted any more."""
    try:
        if not coming.done():
            await asyncio.wait([coming], timeout=_ENDING_SECONDS)
    finally:
        if not coming.done():
            coming.cancel()
            await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()


def position_of(text: str) -> int:
    """The position of an event that is not decoded yet."""
    return int(text[1:].partition(",")[0])


@reads_events
async def after_gap(connection: AsyncConnection, position: int, upto: int) -> int:
    """The last position before the next event above a position, at most `upto`.

    Args:
        connection: Any connection.
        position: From here on; in Refold's own table, which has no gaps to speak of, it is the
            answer.
        upto: A settled position (inclusive).
    """
    source = event_source()
    if source.is_own or position >= upto:
        return position
    column = source.events.c.position
    following = select(func.min(column)).where(column > position, column <= upto)
    found = await connection.scalar(following)
    return upto if found is None else int(found) - 1
