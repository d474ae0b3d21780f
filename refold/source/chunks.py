"""Events on their way from PostgreSQL: in chunks that are bounded by number and by bytes.

A driver that asks for so many rows cannot know how large they will be. So light events travel as
they are found; in the place of a heavy one comes a marker with its size, and it is read when its
turn comes, with no more beside it than fit in a chunk.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.database import compiled, raw
from refold.fold import BATCH_BYTES
from refold.store.schema import events

CHUNK_EVENTS = 1000
"""So many events are asked for at a time, at most."""

CHUNK_BYTES = 4 << 20
"""So many bytes of JSON come at a time; one event that is larger comes alone."""

# Lighter events are not counted one by one: a thousand of them fit in a batch.
_LIGHT_BYTES = 8 << 10

# Sorting a partition's events in memory is worth a little of it, for one statement.
_SORT_MEMORY = "64MB"

# An event travels as one JSON array: orjson decodes many of them in one go, in a third less
# time than the driver needs to decode seven columns each. PostgreSQL writes times as ISO 8601 in
# the session's time zone; datetime reads any.
COLUMNS = (
    events.c.position,
    events.c.stream_id,
    events.c.version,
    events.c.type,
    events.c.data,
    events.c.metadata,
    events.c.recorded_at,
)


def as_json(source: Any = events, *key: ColumnElement[Any]) -> ColumnElement[str]:
    """An event, and its key if given, as one column: JSON, or the marker of a heavy one."""
    json = _json(source, *key)
    light: ColumnElement[int] = literal_column(str(_LIGHT_BYTES))
    both = (source.c.data, source.c.metadata)
    # What is stored says how large it is, without being read, unless it is compressed.
    plain = [func.pg_column_compression(column).is_(None) for column in both]
    stored = func.pg_column_size(both[0]) + func.pg_column_size(both[1])
    size = func.octet_length(cast(both[0], Text)) + func.octet_length(cast(both[1], Text))
    marker = cast(func.json_build_array(source.c.position, size, *key), Text)
    fits = or_(and_(stored <= light, *plain), size <= light)
    return case((fits, json), else_=literal_column("'!'").op("||")(marker))


def _json(source: Any, *key: ColumnElement[Any]) -> ColumnElement[str]:
    return cast(func.json_build_array(*[source.c[c.name] for c in COLUMNS], *key), Text)


_HEAVY, _ = compiled(
    select(events.c.position, _json(events)).where(
        events.c.position == any_(bindparam("positions", type_=ARRAY(BigInteger)))
    )
)


async def in_chunks(
    driver: asyncpg.Connection[Any], records: Sequence[Any]
) -> AsyncIterator[list[Any]]:
    """Records of `as_json`, with heavy events in the place of their markers, chunk by chunk."""
    # Nothing but a marker begins so.
    if not [record for record in records if record[0][0] == "!"]:
        yield list(records)
        return
    chunk: list[Any] = []
    total = 0
    for record in records:
        marker = orjson.loads(record[0][1:]) if record[0][0] == "!" else None
        size = len(record[0]) if marker is None else marker[1]
        if chunk and total + size > CHUNK_BYTES:
            yield await _loaded(driver, chunk)
            chunk, total = [], 0
        chunk.append(marker or record)
        total += size
    yield await _loaded(driver, chunk)


async def _loaded(driver: asyncpg.Connection[Any], chunk: list[Any]) -> list[Any]:
    positions = [one[0] for one in chunk if isinstance(one, list)]
    found = dict(await driver.fetch(_HEAVY, positions)) if positions else {}
    loaded = []
    for one in chunk:
        if isinstance(one, list):
            position, _, *key = one
            if position not in found:
                continue
            json = found.pop(position)
            loaded.append((f"{json[:-1]},{orjson.dumps(key[0]).decode()}]" if key else json,))
        else:
            loaded.append(one)
    return loaded


async def chunks_of(
    connection: AsyncConnection, statement: Select[Any], *, fetch: int = CHUNK_EVENTS
) -> AsyncIterator[list[Any]]:
    """Runs a statement of `as_json` behind a cursor, in the caller's transaction."""
    sql, arguments = compiled(statement)
    driver = await raw(connection)
    cursor = await (await driver.prepare(sql)).cursor(*arguments)
    while records := await cursor.fetch(min(fetch, CHUNK_EVENTS)):
        async for chunk in in_chunks(driver, records):
            yield chunk


@asynccontextmanager
async def stream(
    connection: AsyncConnection, statement: Select[Any], *, fetch: int
) -> AsyncIterator[AsyncIterator[list[Any]]]:
    """Runs a statement behind a cursor, as lists of at most `fetch` records.

    The connection is in a transaction of its own until the context ends: all is one snapshot.
    """
    async with connection.begin():
        await connection.execute(text(f"SET LOCAL work_mem = '{_SORT_MEMORY}'"))
        # All rows will be read: plan for the last one, not for the first.
        await connection.execute(text("SET LOCAL cursor_tuple_fraction = 1"))
        yield chunks_of(connection, statement, fetch=fetch)


@dataclass
class Read:
    """The next records of a statement, and whether these are all.

    Attributes:
        records: As `in_chunks` gives them.
        all: Whether there is none after them.
    """

    records: list[Any]
    all: bool


class BatchReader:
    """Reads the events of one transaction: so many, and no more bytes than a batch may have.

    Attributes:
        at_once: How many are asked for at a time. Measuring heavy events costs about as much as
            reading them: where they are, fewer are asked for.
    """

    def __init__(self) -> None:
        self.at_once = CHUNK_EVENTS

    async def read(
        self, connection: AsyncConnection, statement: Select[Any], *, after: int, limit: int
    ) -> Read:
        """Up to `limit` events of a statement with positions above `after` (exclusive).

        Args:
            connection: In a transaction.
            statement: Of `as_json`, in order of position.
            after: Where to begin.
            limit: How many at most.
        """
        driver = await raw(connection)
        read: list[Any] = []
        total = 0
        while True:
            asked = min(limit - len(read), self.at_once)
            sql, arguments = compiled(statement.where(events.c.position > after).limit(asked))
            found = await driver.fetch(sql, *arguments)
            taken = 0
            async for chunk in in_chunks(driver, found):
                read += chunk
                taken += len(chunk)
                total += sum([len(record[0]) for record in chunk])
                if total >= BATCH_BYTES:
                    break
            if taken < len(found):
                self.at_once = max(10, 2 * taken)
                return Read(read, all=False)
            self.at_once = min(CHUNK_EVENTS, 2 * max(self.at_once, 10))
            if len(found) < asked:
                return Read(read, all=True)
            if total >= BATCH_BYTES or len(read) >= limit:
                return Read(read, all=False)
            after = position_of(read[-1])


def position_of(record: Any) -> int:
    """The position of an event that is not decoded yet."""
    return int(record[0][1:].partition(",")[0])
