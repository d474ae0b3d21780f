"""Table `refold.snapshot_changes`: rows as they were before a batch changed them, as JSON.

A key is there once after each snapshot, at least: the first record of it after a snapshot has its
row as it was then. A key without such a record has not changed since. Whoever adds a record or a
snapshot holds the generation's checkpoint, so their numbers tell which was first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.snapshots.kept import Kept
from refold.store.tables.rows import RowStore

_KEEP = """
    INSERT INTO refold.snapshot_changes (projection, generation, position, changes)
    VALUES ($1, $2, $3, $4::text::json)
"""
_SINCE = """
    SELECT changes::text FROM refold.snapshot_changes
    WHERE projection = $1 AND generation = $2 AND id > $3 ORDER BY id
"""
# One record may have all rows of a batch.
_AT_ONCE = 4


@dataclass
class Changes:
    """What one transaction has changed, as it was before.

    Attributes:
        rows: By key; None where there was no row.
        json: What `create` makes of these rows, as JSON texts; None where there was no row. Empty
            when the projection has no `create`.
        letters: The dead letters that were removed.
    """

    rows: Mapping[Key, Row | None] = field(default_factory=dict)
    json: Mapping[Key, str | None] = field(default_factory=dict)
    letters: Sequence[Mapping[str, Any]] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.letters)


async def keep(
    driver: asyncpg.Connection[Any],
    projection: str,
    generation: int,
    rows: RowStore,
    *,
    position: int,
    changes: Changes,
) -> None:
    """Keeps what has been changed, in the transaction that changes it.

    Args:
        driver: In that transaction.
        projection: The projection.
        generation: The generation.
        rows: Its table.
        position: Its checkpoint before the transaction.
        changes: What it has changed.
    """
    if not changes:
        return
    text = orjson.dumps(
        {
            "columns": rows.written,
            "rows": [rows.frozen(row) for row in changes.rows.values() if row is not None],
            "none": [rows.frozen_key(key) for key, row in changes.rows.items() if row is None],
            "json": [[rows.frozen_key(key), json] for key, json in changes.json.items()],
            "letters": list(changes.letters),
        }
    ).decode()
    await driver.execute(_KEEP, projection, generation, position, text)


async def since(connection: AsyncConnection, kept: Kept) -> AsyncIterator[dict[str, Any]]:
    """What has changed since a snapshot, in order, as `keep` wrote it.

    Args:
        connection: In a transaction.
        kept: The snapshot.
    """
    driver = await raw(connection)
    prepared = await driver.prepare(_SINCE)
    cursor = await prepared.cursor(kept.projection, kept.generation, kept.last_change)
    while records := await cursor.fetch(_AT_ONCE):
        for record in records:
            yield orjson.loads(record[0])
