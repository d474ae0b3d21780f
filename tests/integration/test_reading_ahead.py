"""While events are folded, PostgreSQL makes the next ones ready: one list, no more."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Select, String, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.source import portions
from refold.source.portions import stream
from tests.support.databases import Database
from tests.support.runs import until

ROWS, FETCH = 100, 20


def rows(column: str) -> Select[Any]:
    """A statement that counts the rows that it has made, by a sequence."""
    made = literal_column(column, String)
    return select(made).select_from(text(f"generate_series(1, {ROWS}) AS n"))


COUNTED = rows("'[' || nextval('made') || ']'")
SLOW = rows(f"CASE WHEN n > {FETCH} THEN pg_sleep(60)::text ELSE '[]' END")


@pytest.fixture
async def reader(database: Database) -> Any:
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE SEQUENCE made"))
    async with database.engine.connect() as connection:
        yield connection


async def is_made(database: Database, count: int) -> bool:
    async with database.engine.connect() as connection:
        made = int(await connection.scalar(text("SELECT last_value FROM made")) or 0)
    assert made <= count
    return made == count


async def test_the_next_list_is_made_while_one_is_in_use(
    database: Database, reader: AsyncConnection
) -> None:
    read: list[str] = []
    async with stream(reader, COUNTED, fetch=FETCH) as lists:
        async for texts in lists:
            read += texts
            ahead = min(len(read) + FETCH, ROWS)
            await until(partial(is_made, database, ahead))
    assert read == [f"[{n}]" for n in range(1, ROWS + 1)]


async def test_it_is_asked_for_before_the_event_loop_may_stand_still(
    database: Database, reader: AsyncConnection
) -> None:
    async with stream(reader, COUNTED, fetch=FETCH) as lists:
        await anext(lists)
        driver = await raw(reader)
        # asyncpg takes no other statement while one is at work.
        with pytest.raises(Exception, match="another operation is in progress"):
            await driver.fetch("SELECT 1")


@pytest.mark.parametrize("statement", [COUNTED, SLOW], ids=["quick", "slow"])
async def test_what_is_not_wanted_any_more_is_ended_and_the_connection_can_be_used(
    reader: AsyncConnection, statement: Select[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portions, "_ENDING_SECONDS", 0.2)
    async with asyncio.timeout(20):
        async with stream(reader, statement, fetch=FETCH) as lists:
            assert len(await anext(lists)) == FETCH
        assert await reader.scalar(text("SELECT 7")) == 7


async def test_a_task_that_is_cancelled_while_it_waits_leaves_it_in_order(
    reader: AsyncConnection,
) -> None:
    async def read() -> None:
        async with stream(reader, SLOW, fetch=FETCH) as lists:
            async for _ in lists:
                pass

    task = asyncio.create_task(read())
    await asyncio.wait([task], timeout=1)
    task.cancel()
    async with asyncio.timeout(20):
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await reader.scalar(text("SELECT 7")) == 7


async def test_an_error_of_what_is_read_ahead_comes_in_its_turn(
    reader: AsyncConnection,
) -> None:
    broken = rows(f"CASE WHEN n > {FETCH} THEN (1 / (n - n))::text ELSE '[]' END")
    async with stream(reader, broken, fetch=FETCH) as lists:
        assert len(await anext(lists)) == FETCH
        with pytest.raises(Exception, match="division by zero"):
            await anext(lists)
