"""Dead letters as they were at a snapshot that is kept as changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw

_COPY_AS_OF = """
    INSERT INTO refold.dead_letters
        (projection, generation, key, position, type, stream_id, error, trace, run_id, recorded_at)
    SELECT projection, $3, key, position, type, stream_id, error, trace, run_id, recorded_at
    FROM (
        SELECT * FROM refold.dead_letters
        WHERE projection = $1 AND generation = $2 AND id <= $4
        UNION ALL
        SELECT DISTINCT ON (id) removed.*
        FROM jsonb_populate_recordset(NULL::refold.dead_letters, $5::text::jsonb) removed
        WHERE id <= $4) letters
    ORDER BY id
"""


async def copy_as_of(
    connection: AsyncConnection,
    projection: str,
    source: int,
    target: int,
    *,
    last: int,
    removed: Sequence[Mapping[str, Any]],
) -> None:
    """Gives a generation the letters that another one had at some time.

    Args:
        connection: In a transaction.
        projection: The projection.
        source: The generation that had them.
        target: The generation that gets them.
        last: The last letter that there was then, by its id.
        removed: The letters of the source that have been removed since.
    """
    driver = await raw(connection)
    listed = orjson.dumps(list(removed)).decode()
    await driver.execute(_COPY_AS_OF, projection, source, target, last, listed)
