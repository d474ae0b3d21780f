"""Reading up to the settled head misses no event and reads none twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.source.head import SettledHead
from refold.source.settled.strategy import Writer
from refold.stack.postgres import EmbeddedPostgres
from tests.support.databases import Database, drop_database, make_database
from tests.support.mapped import given
from tests.support.settling import (
    Kept,
    Reader,
    session,
    write,
)


async def highest(database: Database, kept: Kept) -> int:
    numbers = func.max(kept.source.events.c.position)
    async with database.log.connect() as connection:
        found = await connection.scalar(select(func.coalesce(numbers, kept.source.before)))
        return int(found or 0)


async def test_an_empty_log_is_settled(database: Database, reader: Reader, kept: Kept) -> None:
    assert await reader.look() == []
    # Some stores come with a few events of other types.
    assert reader.head.position == await highest(database, kept)
    assert reader.head.waiting_for == []


async def test_a_committed_event_is_read_at_once(
    reader: Reader, one: asyncpg.Connection[Any]
) -> None:
    assert [await write(one), await write(one)] == await reader.look()
    assert await reader.look() == []


async def test_an_event_that_commits_late_is_not_passed(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    late = one.transaction()
    await late.start()
    first = await write(one)
    second = await write(other)
    assert first < second
    for _ in range(3):
        assert await reader.look() == []
        assert reader.head.position < first
    await late.commit()
    assert await reader.look() == [first, second]
    assert await reader.look() == []


async def test_what_commits_while_we_wait_comes_next(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    late = one.transaction()
    await late.start()
    positions = [await write(one), await write(other)]
    assert await reader.look() == []
    positions.append(await write(other))
    await late.commit()
    await reader.look()
    await reader.look()
    assert reader.seen == positions


async def test_a_writer_that_began_later_does_not_hold_back_what_was_there(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    late = one.transaction()
    await late.start()
    first, second = await write(one), await write(other)
    assert await reader.look() == []
    later = other.transaction()
    await later.start()
    third = await write(other)
    await late.commit()
    assert await reader.look() == [first, second]
    assert first <= reader.head.position < third
    await later.rollback()
    assert await reader.look() == []


async def test_a_gap_that_was_rolled_back_does_not_hold(
    reader: Reader, one: asyncpg.Connection[Any]
) -> None:
    gone = one.transaction()
    await gone.start()
    gap = await write(one)
    await gone.rollback()
    after = await write(one)
    assert await reader.look() == [after]
    assert gap not in reader.seen


async def test_a_gap_whose_writer_died_does_not_hold(
    reader: Reader, database: Database, other: asyncpg.Connection[Any]
) -> None:
    async with session(database) as dying:
        await dying.execute("BEGIN")
        await write(dying)
        after = await write(other)
        assert await reader.look() == []
        pid = dying.get_server_pid()
        # With a time to wait it returns when the server process is gone.
        assert await other.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
    assert await reader.look() == [after]


async def test_a_transaction_that_has_not_written_does_not_hold(
    reader: Reader, kept: Kept, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    idle = one.transaction(isolation="repeatable_read")
    await idle.start()
    await one.fetch(f"SELECT * FROM {kept.table}")
    await one.fetch(f"SELECT * FROM {kept.table} FOR SHARE")
    written = await write(other)
    assert await reader.look() == [written]
    await idle.rollback()


async def test_a_writer_in_another_database_does_not_hold(
    reader: Reader, kept: Kept, template: EmbeddedPostgres, one: asyncpg.Connection[Any]
) -> None:
    elsewhere = await make_database(template)
    async with session(elsewhere) as stranger:
        await stranger.execute(given(kept.ddl))
        await stranger.execute("BEGIN")
        await write(stranger)
        assert await reader.look() == [] == reader.head.waiting_for
        assert [await write(one)] == await reader.look()
    await drop_database(template, elsewhere)


async def test_a_savepoint_that_was_rolled_back_may_be_followed_by_another(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    outer = one.transaction()
    await outer.start()
    inner = one.transaction()
    await inner.start()
    await write(one)
    between = await write(other)
    assert await reader.look() == []
    await inner.rollback()
    last = await write(one)
    await reader.look()
    await outer.commit()
    await reader.look()
    await reader.look()
    assert reader.seen == [between, last]


class _Driver:
    """The driver's connection of one that is interrupted."""

    def __init__(self, driver: Any, after: Callable[[Any], Awaitable[Any]]) -> None:
        self._driver = driver
        self._after = after

    async def fetch(self, *arguments: Any) -> Any:
        return await self._after(await self._driver.fetch(*arguments))

    async def fetchval(self, *arguments: Any) -> Any:
        return await self._after(await self._driver.fetchval(*arguments))


class Interrupted:
    """A connection on which something happens between its first statement and its second."""

    def __init__(
        self, connection: AsyncConnection, happens: Callable[[], Awaitable[object]]
    ) -> None:
        self._connection = connection
        self.engine = connection.engine
        self._happens: Callable[[], Awaitable[object]] | None = happens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def scalar(self, *arguments: Any) -> Any:
        return await self._after(await self._connection.scalar(*arguments))

    async def execute(self, *arguments: Any) -> Any:
        return await self._after(await self._connection.execute(*arguments))

    async def get_raw_connection(self) -> Any:
        pooled = await self._connection.get_raw_connection()
        return SimpleNamespace(driver_connection=_Driver(pooled.driver_connection, self._after))

    async def _after(self, result: Any) -> Any:
        happens, self._happens = self._happens, None
        if happens:
            await happens()
        return result


async def test_a_writer_that_begins_during_the_look_is_not_passed(
    database: Database, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await write(one)
    drawn: list[int] = []

    async def happens() -> None:
        await one.execute("BEGIN")
        drawn.append(await write(one))
        await write(other)

    async with database.log.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        head = SettledHead()
        await head.poll(cast(AsyncConnection, Interrupted(connection, happens)))
        assert head.position < drawn[0]
        assert await head.poll(connection) < drawn[0]
        await one.execute("COMMIT")
        assert await head.poll(connection) == drawn[0] + 1


async def test_who_is_waited_for_is_named(
    reader: Reader, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await one.execute("BEGIN")
    await write(one)
    await write(other)
    await reader.look()
    [writer] = reader.head.waiting_for
    assert (writer.pid, writer.name) == (one.get_server_pid(), "a writer")
    assert writer.since == await one.fetchval("SELECT now()")
    assert str(writer).startswith(f"pid {writer.pid} (a writer) since 20")
    await one.execute("ROLLBACK")
    await reader.look()
    assert reader.head.waiting_for == []


async def test_waiting_lasts_until_the_last_writer_has_ended(
    database: Database, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await one.execute("BEGIN")
    await write(one)
    last = await write(other)
    seen: list[list[Writer]] = []
    waited = asyncio.Event()

    def waiting(writers: list[Writer]) -> None:
        seen.append(writers)
        waited.set()

    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        head = SettledHead()
        waiter = asyncio.create_task(head.wait(connection, waiting=waiting))
        await waited.wait()
        await one.execute("COMMIT")
        assert await waiter == last
    assert [writer.pid for writer in seen[0]] == [one.get_server_pid()]


async def test_waiting_ends_when_the_time_is_up(
    database: Database, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    before = await write(other)
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        head = SettledHead(before)
        await one.execute("BEGIN")
        await write(one)
        await write(other)
        assert await head.wait(connection, seconds=0) == before
        await one.execute("ROLLBACK")
