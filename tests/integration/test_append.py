"""Appending to a stream, and being told when it has moved on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import WrongExpectedVersion
from refold.source.log import NewEvent, append, count_events, stream_version
from refold.source.reader import read_window
from tests.support.databases import Database

PLACED = NewEvent("OrderPlaced", {"n": 1})
PAID = NewEvent("OrderPaid", {"n": 2}, {"by": "me"}, datetime(2024, 1, 1, 12, tzinfo=UTC))


async def appended(
    database: Database, stream: str, *events: NewEvent, expected: int | None = None
) -> int:
    async with database.engine.begin() as connection:
        return await append(connection, stream, events, expected_version=expected)


async def versions(connection: AsyncConnection) -> list[tuple[str, int]]:
    rows = await connection.execute(
        text("SELECT stream_id, version FROM refold.events ORDER BY position")
    )
    return [(row.stream_id, row.version) for row in rows]


async def test_a_stream_is_numbered_from_one(database: Database) -> None:
    assert await appended(database, "o-1", PLACED, PAID) == 2
    assert await appended(database, "o-2", PLACED) == 1
    assert await appended(database, "o-1", PAID) == 3
    async with database.engine.connect() as connection:
        assert await versions(connection) == [("o-1", 1), ("o-1", 2), ("o-2", 1), ("o-1", 3)]
        assert await stream_version(connection, "o-1") == 3
        assert await stream_version(connection, "none") == 0


async def test_what_is_appended_is_what_is_read(database: Database) -> None:
    await appended(database, "o-1", PLACED, PAID)
    async with database.engine.connect() as connection:
        placed, paid = await read_window(
            connection, types=["OrderPlaced", "OrderPaid"], after=0, upto=100, limit=10
        )
        recorded = await connection.scalar(text("SELECT min(recorded_at) FROM refold.events"))
    assert paid[1:] == ("o-1", 2, "OrderPaid", {"n": 2}, {"by": "me"}, PAID.recorded_at)
    assert placed.position < paid.position
    assert (placed.data, placed.metadata) == ({"n": 1}, {})
    assert placed.recorded_at.tzinfo is not None
    assert recorded == PAID.recorded_at == paid.recorded_at < placed.recorded_at


async def test_nothing_may_be_appended(database: Database) -> None:
    await appended(database, "o-1", PLACED)
    assert await appended(database, "o-1") == 1
    assert await appended(database, "o-1", expected=1) == 1
    with pytest.raises(WrongExpectedVersion):
        await appended(database, "o-1", expected=0)


async def test_a_stream_at_the_expected_version_takes_events(database: Database) -> None:
    assert await appended(database, "o-1", PLACED, expected=0) == 1
    assert await appended(database, "o-1", PAID, PAID, expected=1) == 3


@pytest.mark.parametrize("expected", [0, 2])
async def test_a_stream_at_another_version_takes_none(database: Database, expected: int) -> None:
    await appended(database, "o-1", PLACED)
    with pytest.raises(WrongExpectedVersion) as caught:
        await appended(database, "o-1", PAID, expected=expected)
    error = caught.value
    assert (error.stream_id, error.expected, error.actual) == ("o-1", expected, 1)
    assert f"expected version {expected}, actual version 1" in str(error)
    async with database.engine.connect() as connection:
        assert await versions(connection) == [("o-1", 1)]


@pytest.mark.parametrize("expected", [None, 1])
async def test_of_two_at_the_same_time_one_is_told(
    database: Database, expected: int | None
) -> None:
    """The second has seen the version before the first commits, and waits for it."""
    await appended(database, "o-1", PLACED)
    async with database.engine.connect() as first, database.engine.connect() as second:
        pid = await second.scalar(text("SELECT pg_backend_pid()"))
        await append(first, "o-1", [PAID, PAID], expected_version=expected)
        losing = asyncio.create_task(append(second, "o-1", [PAID], expected_version=expected))
        async with database.engine.connect() as watch:
            blocked = text("SELECT cardinality(pg_blocking_pids(:pid))")
            while not await watch.scalar(blocked, {"pid": pid}):
                assert not losing.done()
        await first.commit()
        with pytest.raises(WrongExpectedVersion) as caught:
            await losing
        assert (caught.value.expected, caught.value.actual) == (1, 3)
        await second.rollback()
        assert await append(second, "o-1", [PAID]) == 4


async def test_many_at_once_never_share_a_version(database: Database) -> None:
    async def persist() -> int:
        refused = 0
        while True:
            try:
                await appended(database, "o-1", PAID)
            except WrongExpectedVersion:
                refused += 1
            else:
                return refused

    await asyncio.gather(*[persist() for _ in range(8)])
    async with database.engine.connect() as connection:
        assert await versions(connection) == [("o-1", version) for version in range(1, 9)]


async def test_an_append_that_is_rolled_back_never_was(database: Database) -> None:
    async with database.engine.connect() as connection:
        await append(connection, "o-1", [PLACED])
        await connection.rollback()
    assert await appended(database, "o-1", PAID, expected=0) == 1


async def test_events_are_counted_by_type_and_position(database: Database) -> None:
    await appended(database, "o-1", PLACED, PAID, PAID)
    async with database.engine.connect() as connection:
        assert await count_events(connection) == 3
        assert await count_events(connection, types=["OrderPaid"]) == 2
        assert await count_events(connection, types=[]) == 0
        assert await count_events(connection, after=1) == 2
        assert await count_events(connection, upto=1) == 1
        assert await count_events(connection, types=["OrderPaid"], after=2, upto=3) == 1
