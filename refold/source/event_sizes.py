"""Measures events at known positions, and reads them in chunks of few bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.event import Event
from refold.runtime.database import compiled, raw
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reads_events
from refold.source.portions import PORTION_BYTES, PORTION_EVENTS
from refold.source.reader import at, read_at

# One statement measures so many events: PostgreSQL makes JSON of each.
_MEASURED = 200


@reads_events
async def measured(
    connection: AsyncConnection, positions: Sequence[int], *, most: int
) -> dict[int, int]:
    """The bytes of each of these events as JSON, by position.

    Args:
        connection: Any connection.
        positions: Which events.
        most: Once they have more bytes than this together, the others are not measured.
    """
    sizes: dict[int, int] = {}
    total = start = 0
    driver = await raw(connection)
    while start < len(positions) and total <= most:
        some = positions[start : start + _MEASURED]
        found = select(events().c.position, event_source().fields.size(events())).where(at(some))
        sql, arguments = compiled(found)
        more = {record[0]: record[1] for record in await driver.fetch(sql, *arguments)}
        sizes.update(more)
        total += sum(more.values())
        start += _MEASURED
    return sizes


async def read_chunks(
    connection: AsyncConnection, positions: Sequence[int], sizes: Mapping[int, int] | None = None
) -> AsyncIterator[list[Event]]:
    """The events at these positions, chunk by chunk.

    Args:
        connection: Any connection.
        positions: Which events.
        sizes: The bytes of each, as `measured` found; None to measure them here.

    Raises:
        UnreadableEvent: An event's JSON cannot be decoded.
    """
    if sizes is None:
        for start in range(0, len(positions), _MEASURED):
            some = positions[start : start + _MEASURED]
            of_some = await measured(connection, some, most=0)
            async for read in read_chunks(connection, some, of_some):
                yield read
        return
    chunk: list[int] = []
    size = 0
    for position in positions:
        if chunk and (size + sizes[position] > PORTION_BYTES or len(chunk) == PORTION_EVENTS):
            yield await read_at(connection, chunk)
            chunk, size = [], 0
        chunk.append(position)
        size += sizes[position]
    if chunk:
        yield await read_at(connection, chunk)
