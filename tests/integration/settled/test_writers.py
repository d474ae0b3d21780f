"""The settled head with many writers, early positions, and the strategies beside locks."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from tests.integration.settled.conftest import OTHERS
from tests.support.databases import Database
from tests.support.kept_stores import MARTEN_RICH, ONE_AFTER_ANOTHER, STORES
from tests.support.settling import (
    DRAWN_EARLY,
    IN_OWN,
    MARKED,
    ONE_BY_ONE,
    Kept,
    Reader,
    committed,
    name_of,
    session,
    write,
)
from tests.support.soaking import mostly_soak, soak

# -- many writers ------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [IN_OWN, *OTHERS, *soak(*STORES)], ids=name_of, indirect=True)
@pytest.mark.parametrize("seed", [0, *soak(1, 2, 3)])
async def test_any_interleaving_is_read_once_and_in_order(
    database: Database, reader: Reader, seed: int
) -> None:
    """One step at a time: begin, write, commit, roll back or look, as chance has it."""
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        writers = [await stack.enter_async_context(session(database)) for _ in range(5)]
        for _ in range(250):
            writer = chance.choice(writers)
            if chance.random() < 0.25:
                await reader.look()
            elif not writer.is_in_transaction():
                await writer.execute("BEGIN")
            elif chance.random() < 0.5:
                await write(writer)
            else:
                await writer.execute("COMMIT" if chance.random() < 0.7 else "ROLLBACK")
        for writer in writers:
            await writer.execute("COMMIT" if writer.is_in_transaction() else "SELECT 1")
    await reader.look()
    await reader.look()
    expected = await committed(database)
    assert len(expected) > 20
    assert reader.seen == expected


async def test_concurrent_writers_are_read_once_and_in_order(
    database: Database, reader: Reader
) -> None:
    await concurrent(database, reader)
    assert reader.seen == await committed(database)


async def concurrent(database: Database, reader: Reader) -> None:
    chance = random.Random(20)
    plans = [[(chance.randint(1, 4), chance.random() < 0.8) for _ in range(12)] for _ in range(6)]

    looked = asyncio.Event()

    async def work(plan: list[tuple[int, bool]]) -> None:
        async with session(database) as writer:
            for number, (events, commits) in enumerate(plan):
                if number == len(plan) // 2:  # quick writers must not be done before a look
                    await looked.wait()
                await writer.execute("BEGIN")
                for _ in range(events):
                    await write(writer)
                await writer.execute("COMMIT" if commits else "ROLLBACK")

    working = asyncio.gather(*[work(plan) for plan in plans])
    looks = 0
    while not working.done():
        await reader.look()
        looks += 1
        if looks == 2:
            looked.set()
        await asyncio.sleep(0.002)  # looking takes a processor that the writers wait for
    await working
    await reader.look()
    await reader.look()
    assert looks > 1
    assert len(reader.seen) == sum(events for plan in plans for events, commits in plan if commits)


# -- a position that is drawn with one statement, and used with a later one --------------------


_EARLY = [DRAWN_EARLY, *mostly_soak(*STORES, suite=2)]


@pytest.mark.parametrize("kept", _EARLY, ids=name_of, indirect=True)
async def test_a_position_that_was_drawn_before_the_insert_is_not_passed(
    reader: Reader, kept: Kept, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await one.execute("BEGIN")
    drawn = await one.fetchval(kept.draws)
    after = await write(other)
    for _ in range(3):
        assert await reader.look() == []
    assert [writer.pid for writer in reader.head.waiting_for] == [one.get_server_pid()]
    await one.execute(kept.uses, drawn)
    await one.execute("COMMIT")
    assert await reader.look() == [drawn, after]


@pytest.mark.parametrize("kept", _EARLY, ids=name_of, indirect=True)
async def test_a_position_drawn_in_a_savepoint_that_was_rolled_back_is_waited_for(
    reader: Reader, kept: Kept, one: asyncpg.Connection[Any], other: asyncpg.Connection[Any]
) -> None:
    await one.execute("BEGIN")
    await one.execute("SAVEPOINT s")
    drawn = await one.fetchval(kept.draws)
    await one.execute("ROLLBACK TO SAVEPOINT s")
    after = await write(other)
    assert await reader.look() == []
    await one.execute(kept.uses, drawn)
    await one.execute("COMMIT")
    assert await reader.look() == [drawn, after]


# -- other strategies --------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [ONE_BY_ONE, *ONE_AFTER_ANOTHER], ids=name_of, indirect=True)
async def test_writers_one_after_another_are_read_in_their_order(
    database: Database,
    reader: Reader,
    one: asyncpg.Connection[Any],
    other: asyncpg.Connection[Any],
) -> None:
    await one.execute("BEGIN")
    first = await write(one)
    await one.execute("SAVEPOINT s")
    await write(one)
    await one.execute("ROLLBACK TO SAVEPOINT s")
    last = await write(one)

    async def writes() -> int:
        await other.execute("BEGIN")
        written = await write(other)
        await other.execute("COMMIT")
        return written

    second = asyncio.create_task(writes())
    for _ in range(3):
        assert await reader.look() == []
    assert not second.done()
    await one.execute("COMMIT")
    assert [first, last, await second] == [*await reader.look(), *await reader.look()]
    await one.execute("BEGIN")
    await write(one)
    await one.execute("ROLLBACK")
    reader.seen.clear()
    await concurrent(database, reader)
    # The first of all is among those that are there, too.
    reader.seen[:0] = [first, last, second.result()]
    assert reader.seen == await committed(database)


@pytest.mark.parametrize("kept", [MARKED, MARTEN_RICH], ids=name_of, indirect=True)
async def test_nothing_is_read_beyond_the_mark(
    reader: Reader,
    kept: Kept,
    one: asyncpg.Connection[Any],
    other: asyncpg.Connection[Any],
) -> None:
    for unset in (None, 0):
        await other.execute(kept.mark, unset)
        assert await reader.look() == []
    await one.execute("BEGIN")
    first, second = await write(one), await write(other)
    assert await reader.look() == []
    await one.execute("COMMIT")
    third = await write(other)
    await other.execute(kept.mark, second)
    assert await reader.look() == [first, second]
    await other.execute(kept.mark, third + 10)
    assert await reader.look() == [third]
    assert reader.head.position == third + 10
