"""Appending to a stream, and being told when it has moved on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from json import dumps, loads
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from refold.errors import WrongExpectedVersion
from refold.source.appending.connections import Connection
from refold.source.log import NewEvent, append, count_events, stream_version
from refold.source.port.current import CHANNEL
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


# -- the connections that applications have -------------------------------------------------------


@asynccontextmanager
async def _connection(database: Database) -> AsyncIterator[tuple[Connection, Any]]:
    async with database.engine.connect() as connection:
        yield connection, connection.begin()


@asynccontextmanager
async def _session(database: Database) -> AsyncIterator[tuple[Connection, Any]]:
    async with AsyncSession(database.engine) as session:
        yield session, session.begin()


@asynccontextmanager
async def _driver(database: Database) -> AsyncIterator[tuple[Connection, Any]]:
    driver = await asyncpg.connect(database.url)
    # As applications do, so that jsonb is dicts to them.
    await driver.set_type_codec("jsonb", encoder=dumps, decoder=loads, schema="pg_catalog")
    yield driver, driver.transaction()
    await driver.close()


@asynccontextmanager
async def _pooled(database: Database) -> AsyncIterator[tuple[Connection, Any]]:
    one = asyncpg.create_pool(database.url, min_size=1, max_size=1)
    async with one as pool, pool.acquire() as driver:
        yield driver, driver.transaction()


through = pytest.mark.parametrize("opened", [_connection, _session, _driver, _pooled])


@through
async def test_any_connection_appends_the_same_in_its_own_transaction(
    database: Database, opened: Any
) -> None:
    new = NewEvent("Paid", {"n": 1.5, "big": 2**70, "none": None, "text": "ä:x"}, {"by": "me"})
    async with opened(database) as (connection, transaction), transaction:
        assert await append(connection, "o-1", [PLACED, new], 0) == 2
        assert await append(connection, "o-1", [PAID], expected_version=2) == 3
        assert await append(connection, "o-1", []) == 3
    async with database.engine.connect() as reading:
        *found, last = await read_window(
            reading, types=["OrderPlaced", "Paid", "OrderPaid"], after=0, upto=100, limit=10
        )
    assert [(one.version, one.type, one.data) for one in found] == [
        (1, "OrderPlaced", PLACED.data),
        (2, "Paid", new.data),
    ]
    assert found[0].recorded_at == found[1].recorded_at > last.recorded_at
    assert last[1:] == ("o-1", 3, "OrderPaid", PAID.data, PAID.metadata, PAID.recorded_at)


@through
async def test_what_is_rolled_back_was_never_appended(database: Database, opened: Any) -> None:
    async with opened(database) as (connection, transaction):
        with suppress(LookupError):
            async with transaction:
                await append(connection, "o-1", [PLACED], notify=True)
                raise LookupError
        assert await stream_version(connection, "o-1") == 0
    async with database.engine.connect() as reading:
        assert await versions(reading) == []


@through
async def test_after_a_refusal_the_transaction_goes_on(database: Database, opened: Any) -> None:
    """What the application did before is there, and it may decide anew in the same transaction."""
    await appended(database, "o-1", PLACED)
    async with opened(database) as (connection, transaction), transaction:
        assert await append(connection, "o-2", [PLACED], 0) == 1
        with pytest.raises(WrongExpectedVersion, match="expected version 0, actual version 1"):
            await append(connection, "o-1", [PAID], 0)
        # Others append while this one has looked already.
        async with database.engine.connect() as first:
            await append(first, "o-1", [PAID])
            losing = asyncio.create_task(append(connection, "o-1", [PAID], 1))
            async with database.engine.connect() as watch:
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                while not await watch.scalar(waiting):
                    assert not losing.done()
            await first.commit()
        with pytest.raises(WrongExpectedVersion, match="expected version 1, actual version 2"):
            await losing
        assert await append(connection, "o-1", [PAID], 2) == 3
    async with database.engine.connect() as reading:
        assert sorted(await versions(reading)) == [("o-1", 1), ("o-1", 2), ("o-1", 3), ("o-2", 1)]


async def test_a_snapshot_of_its_own_does_not_hide_who_was_first(database: Database) -> None:
    await appended(database, "o-1", PLACED)
    driver = await asyncpg.connect(database.url)
    try:
        async with driver.transaction(isolation="repeatable_read"):
            assert await stream_version(driver, "o-1") == 1
            await appended(database, "o-1", PAID)
            with pytest.raises(WrongExpectedVersion) as caught:
                await append(driver, "o-1", [PAID], 1)
            assert (caught.value.expected, caught.value.actual) == (1, 2)
    finally:
        await driver.close()


async def test_without_a_transaction_asyncpg_appends_all_or_none(database: Database) -> None:
    driver = await asyncpg.connect(database.url)
    try:
        assert await append(driver, "o-1", [PLACED, PAID]) == 2
        with pytest.raises(asyncpg.NotNullViolationError):
            await append(driver, "o-1", [PAID, NewEvent(None, {})])  # type: ignore[arg-type]
    finally:
        await driver.close()
    async with database.engine.connect() as reading:
        assert await versions(reading) == [("o-1", 1), ("o-1", 2)]


@through
async def test_whoever_wants_to_notifies_at_the_commit(database: Database, opened: Any) -> None:
    told: list[str] = []
    listening = await asyncpg.connect(database.url)
    await listening.add_listener(CHANNEL, lambda *args: told.append(args[2]))
    try:
        async with opened(database) as (connection, transaction), transaction:
            await append(connection, "o-1", [PLACED])
        async with opened(database) as (connection, transaction), transaction:
            await append(connection, "o-1", [PLACED], notify=True)
            await listening.execute("SELECT")
            assert told == []
        while not told:
            await listening.execute("SELECT")
        assert told == [CHANNEL]
    finally:
        await listening.close()


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewEvent("A", {"n": [float("nan")]}), ValueError),
        (NewEvent("A", {"n": {1, 2}}), TypeError),
        (NewEvent("A", {}, {}, datetime(2024, 1, 1)), ValueError),
    ],
)
async def test_what_json_cannot_say_is_refused_and_nothing_appended(
    database: Database, new: NewEvent, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await appended(database, "o-1", PLACED, new)
    async with database.engine.connect() as reading:
        assert await versions(reading) == []


async def test_another_kind_of_connection_is_refused() -> None:
    with pytest.raises(TypeError, match="expected a connection of asyncpg"):
        await append("postgresql://", "o-1", [PLACED])  # type: ignore[arg-type]


async def test_events_are_counted_by_type_and_position(database: Database) -> None:
    await appended(database, "o-1", PLACED, PAID, PAID)
    async with database.engine.connect() as connection:
        assert await count_events(connection) == 3
        assert await count_events(connection, types=["OrderPaid"]) == 2
        assert await count_events(connection, types=[]) == 0
        assert await count_events(connection, after=1) == 2
        assert await count_events(connection, upto=1) == 1
        assert await count_events(connection, types=["OrderPaid"], after=2, upto=3) == 1
