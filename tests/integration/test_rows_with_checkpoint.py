"""A batch in one statement: its rows are added and its checkpoint is moved, or neither is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, Text, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold import Projection
from refold.errors import Fenced
from refold.runtime.database import raw
from refold.store import partitions, runs
from refold.store.partitions import Partition
from refold.store.tables.many import at_once
from refold.store.tables.rows import RowStore
from tests.support.databases import Database

TABLE = Table(
    "totals",
    MetaData(schema="public"),
    Column("id", Text, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("total", Numeric(14, 2)),
    Column("short", String(3)),
)
PROJECTION = Projection("totals", table=TABLE, key="stream_id")


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"id": f"k{n:04}", "n": n, "total": Decimal(n).scaleb(-2), "short": None}
        for n in range(count)
    ]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[AsyncConnection]:
    async with database.engine.connect() as connection:
        async with connection.begin():
            await connection.run_sync(TABLE.create)
        yield connection
        async with connection.begin():
            await connection.run_sync(TABLE.drop)


@pytest.fixture
async def partition(connection: AsyncConnection) -> Partition:
    async with connection.begin():
        await runs.begin(
            connection,
            run_id="run-1",
            projection="totals",
            kind="Rebuild",
            workflow_id="run-1",
            request={},
        )
        await partitions.create(connection, "run-1", [(None, None)], [10])
    async with connection.begin():
        return await partitions.take(connection, PROJECTION, "run-1", 0)


async def added(
    connection: AsyncConnection, partition: Partition, batch: int, made: list[dict[str, Any]]
) -> int | None:
    """Adds rows as the batch with this number."""
    statement = RowStore(TABLE).with_checkpoint()
    assert statement is not None
    values = partitions.advance_values(
        partition,
        batch=batch,
        events=7,
        done_key=made[-1]["id"],
        carry=None,
        done=False,
        durable=False,
    )
    return await statement.add(await raw(connection), made, values)


async def there(connection: AsyncConnection) -> tuple[list[dict[str, Any]], int]:
    """The rows, and how many events are said to be folded."""
    async with connection.begin():
        found = await connection.execute(select(TABLE).order_by(TABLE.c.id))
        (counted,) = await partitions.counts(connection, "run-1")
        return [dict(row._mapping) for row in found], counted.processed_events


async def test_rows_and_checkpoint_are_there(
    connection: AsyncConnection, partition: Partition
) -> None:
    made = rows(5)
    assert await added(connection, partition, 0, made[:3]) == 0
    assert await added(connection, partition, 1, made[3:]) == 0
    assert await there(connection) == (made, 14)


async def test_an_attempt_that_was_overtaken_adds_nothing(
    connection: AsyncConnection, partition: Partition
) -> None:
    stale = replace(partition, fence=partition.fence - 1)
    with pytest.raises(Fenced, match="another attempt has taken over"):
        await added(connection, stale, 0, rows(3))
    assert await added(connection, partition, 0, rows(2)) == 0
    with pytest.raises(Fenced):  # the same batch again
        await added(connection, partition, 0, rows(3))
    assert await there(connection) == (rows(2), 7)


async def test_a_row_that_is_refused_leaves_nothing(
    connection: AsyncConnection, partition: Partition
) -> None:
    made = rows(3)
    made[1]["short"] = "long"
    with pytest.raises(asyncpg.StringDataRightTruncationError):
        await added(connection, partition, 0, made)
    assert await there(connection) == ([], 0)


async def test_many_or_long_rows_are_left_to_copy(
    connection: AsyncConnection, partition: Partition
) -> None:
    long = [{**row, "short": "x" * at_once._BYTES} for row in rows(2)]
    for made in (rows(at_once._ROWS + 1), long):
        assert await added(connection, partition, 0, made) is None
    assert await there(connection) == ([], 0)
