"""How many events a batch may apply, by the rows that they change."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.key import Key
from refold.store.tables.rows import RowStore

ROWS_BYTES = 16 << 20
"""Rows that a batch reads, as text; more only if a single event has more."""

# So few may be large without being measured: as a rule a live projection has no more at a time.
_FEW_KEYS = 10


async def fitting(
    connection: AsyncConnection, rows: RowStore, keys_of_events: Sequence[Sequence[Key]]
) -> int:
    """The number of events, from the first on, whose rows fit together; at least one if any.

    Args:
        connection: Any connection.
        rows: The table.
        keys_of_events: For each event, in order, the keys of the rows that it changes.
    """
    all_keys = list(dict.fromkeys(key for keys in keys_of_events for key in keys))
    if len(all_keys) <= _FEW_KEYS:
        return len(keys_of_events)
    sizes = await rows.sizes(connection, all_keys)
    total = 0
    for number, keys in enumerate(keys_of_events if sizes else ()):
        total += sum(sizes.pop(key, 0) for key in keys)  # it is read for the first event of a key
        if number and total > ROWS_BYTES:
            return number
    return len(keys_of_events)
