"""Counts events of some types within a range of positions."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reads_events


@reads_events
async def count_of_types(
    connection: AsyncConnection, types: Collection[str] | None, *, after: int, upto: int, most: int
) -> int:
    """How many events of these types there are in a range; it stops counting at `most`.

    Args:
        connection: The database.
        types: Only events of these types; None for all.
        after: Above this position (exclusive).
        upto: Up to this one (inclusive).
        most: The number beyond which it does not matter how many there are.
    """
    if upto <= after or most <= 0:
        return 0
    columns = events().c
    conditions = [columns.position > after, columns.position <= upto]
    if types is not None:
        conditions.append(columns.type.in_(event_source().stored_types(types)))
    found = select(columns.position).where(*conditions).limit(most).subquery()
    return await connection.scalar(select(func.count()).select_from(found)) or 0
