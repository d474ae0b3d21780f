"""Table `refold.snapshot_rows`: what a projection's `create` makes of each row of a generation.

It is kept up with the rows, so that another version can have them without the code that made them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import asyncpg
import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.projection.declaration import Row
from refold.projection.key import Key
from refold.runtime.database import raw
from refold.store.snapshots import changes
from refold.store.snapshots.kept import Kept
from refold.store.tables.read_models import quoted
from refold.store.tables.rows import RowStore

_PUT = """
    INSERT INTO refold.snapshot_rows (projection, generation, key, data)
    SELECT $1, $2, key::jsonb, data::json FROM unnest($3::text[], $4::text[]) AS made (key, data)
    ON CONFLICT (projection, generation, key) DO UPDATE SET data = EXCLUDED.data
"""
_DELETE = """
    DELETE FROM refold.snapshot_rows
    WHERE projection = $1 AND generation = $2 AND key = ANY (SELECT unnest($3::text[])::jsonb)
"""
_ROWS_AT_ONCE = 2000


async def put(
    driver: asyncpg.Connection[Any],
    projection: str,
    generation: int,
    rows: RowStore,
    made: Mapping[Key, str | None],
) -> None:
    """Puts what `create` made of rows in place; None for a row that is gone."""
    there = {key: json for key, json in made.items() if json is not None}
    gone = [key for key, json in made.items() if json is None]
    if there:
        keys = [_text(rows, key) for key in there]
        await driver.execute(_PUT, projection, generation, keys, list(there.values()))
    if gone:
        await driver.execute(_DELETE, projection, generation, [_text(rows, key) for key in gone])


def _text(rows: RowStore, key: Key) -> str:
    return orjson.dumps(rows.frozen_key(key)).decode()


async def all_rows(
    connection: AsyncConnection, rows: RowStore
) -> AsyncIterator[list[tuple[Key, Row]]]:
    """All rows of a table, with their keys, some at a time; in a transaction."""
    result = await connection.stream(select(rows.table).execution_options(yield_per=_ROWS_AT_ONCE))
    async for partition in result.partitions():
        found = [rows.row_of(record) for record in partition]
        yield [(rows.key_of(row), row) for row in found]


# -- as of a snapshot ------------------------------------------------------------------------

_STAGE = "CREATE TABLE {table} (refold_order bigint, key jsonb, data json)"
_AS_OF = """
    SELECT key::text, data::text FROM refold.snapshot_rows r
    WHERE projection = $1 AND generation = $2
      AND NOT EXISTS (SELECT FROM {table} c WHERE c.key = r.key)
    UNION ALL
    SELECT key, data FROM (
        SELECT DISTINCT ON (c.key) c.key::text AS key, c.data::text AS data
        FROM {table} c ORDER BY c.key, refold_order) first
    WHERE data IS NOT NULL
"""


async def as_of(
    connection: AsyncConnection, kept: Kept, schema: str
) -> AsyncIterator[list[tuple[Sequence[Any], str]]]:
    """What `create` made of a snapshot's rows: frozen keys and JSON texts, some at a time.

    Args:
        connection: In a transaction whose statements all see one state.
        kept: A snapshot that has it.
        schema: Where a table may be made for the time being.
    """
    driver = await raw(connection)
    table = quoted(schema, "refold_changes")
    await driver.execute(_STAGE.format(table=table))
    order = 0
    async for changed in changes.since(connection, kept):
        records = []
        for key, json in changed["json"]:
            order += 1
            records.append((order, orjson.dumps(key).decode(), json))
        await driver.copy_records_to_table(
            "refold_changes", schema_name=schema, columns=None, records=records
        )
    # Not the driver's cursor: that would keep the table from being dropped.
    declare = f"DECLARE refold_rows NO SCROLL CURSOR FOR {_AS_OF.format(table=table)}"
    await driver.execute(declare, kept.projection, kept.generation)
    while found := await driver.fetch(f"FETCH {_ROWS_AT_ONCE} FROM refold_rows"):
        yield [(orjson.loads(key), json) for key, json in found]
    await driver.execute(f"CLOSE refold_rows; DROP TABLE {table}")
