"""Events that appear in passed gaps: the rows of their keys are put right, whoever works there."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Patience
from refold.source.port.current import using
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.letters import aside, assert_held_oracle, held
from tests.support.live import live, recorded, until_position, until_recorded
from tests.support.pooled import DDL, Node, pooled
from tests.support.runs import assert_oracle, checkpoint, rows_of, run, until, working
from tests.support.settling import session
from tests.support.soaking import soak

SECONDS = 0.3


@pytest.fixture(autouse=True)
async def source(database: Database) -> AsyncIterator[None]:
    async with session(database) as connection:
        await connection.execute(DDL)
    with using(pooled(Patience(SECONDS))):
        yield


@asynccontextmanager
async def nodes(database: Database, count: int = 2) -> AsyncIterator[list[Node]]:
    """Processes of the application, each with a block of positions of its own."""
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(session(database)) for _ in range(count + 1)]
        yield [Node(one, sessions[-1]) for one in sessions[:-1]]


async def put_right(database: Database, count: int) -> None:
    """Waits until the live rows are right for so many late events."""
    number = text("SELECT late_to FROM refold.generations WHERE status = 'active'")

    async def done() -> bool:
        async with database.engine.connect() as connection:
            late_to: int = await connection.scalar(number)
            return late_to >= count

    await until(done)


async def test_a_late_event_is_applied_in_its_place_and_told(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with nodes(database) as (one, other), working(client, database, registry_of(projection)):
        await one.write("Added", "a")
        await other.write("Added", "a", 10)
        await run(client, database, "Backfill", "counters")
        assert await checkpoint(database.engine, projection) == 51
        async with live(client, database):
            await one.write("Added", "a", 100)
            await other.write("Removed", "b")
            await one.write("Added", "b", 1000)
            await put_right(database, 2)
            await until_position(database, 52)
            # Removed at 52, after what was late.
            assert {*await assert_oracle(database.engine, projection)} == {"a"}
            told = await until_recorded(database, "ProjectionLateEventsApplied")
            assert told.data["events"] >= 1
            assert told.data["first_position"] in (2, 3)
        # Nobody follows: a rebuild, a repair and a rollback put right what comes then.
        await one.write("Added", "c")
        for kind, fields in (
            ("Rebuild", {}),
            ("Backfill", {"from_position": 51}),
            ("Rollback", {}),
        ):
            await one.write("Added", "c")
            await run(client, database, kind, "counters", **fields)
            await assert_oracle(database.engine, projection)
    assert [e.type for e in await recorded(database)].count("ProjectionBackfillFailed") == 0


async def test_late_poison_is_set_aside(client: Client, database: Database) -> None:
    projection = aside()
    async with nodes(database) as (one, other), working(client, database, registry_of(projection)):
        await one.write("Added", "a")
        await other.write("Added", "a")
        await other.write("Added", "b")
        await run(client, database, "Backfill", "counters")
        async with live(client, database):
            await one.write("Broken", "a")
            await one.write("Added", {"no": "key"})
            await put_right(database, 2)
            assert await held(database) == {("a",): 2, None: 3}
            await assert_held_oracle(database, projection)
            # A key that is held stays as it is.
            await one.write("Added", "a")
            await one.write("Added", "b")
            await put_right(database, 4)
            await assert_held_oracle(database, projection)


@pytest.mark.parametrize(("seed", "count"), [(0, 75), *soak(*((seed, 150) for seed in range(6)))])
async def test_any_interleaving_of_writers_and_runs_ends_right(
    client: Client, database: Database, seed: int, count: int
) -> None:
    """Three processes write and roll back, while the read model is followed, rebuilt, repaired."""
    chance = random.Random(seed)
    projection = counters()
    async with (
        nodes(database, 3) as writers,
        working(client, database, registry_of(projection)),
    ):

        async def write() -> None:
            for number in range(count):
                node = chance.choice(writers)
                if not node.connection.is_in_transaction() and chance.random() < 0.3:
                    await node.connection.execute("BEGIN")
                kind = "Removed" if chance.random() < 0.1 else "Added"
                await node.write(kind, f"k{chance.randrange(12):03}", number)
                if node.connection.is_in_transaction() and chance.random() < 0.4:
                    ends = "COMMIT" if chance.random() < 0.7 else "ROLLBACK"
                    await node.connection.execute(ends)
                await asyncio.sleep(chance.random() * 0.04)
            for node in writers:
                if node.connection.is_in_transaction():
                    await node.connection.execute("COMMIT")

        await writers[0].write("Added", "k000")
        await run(client, database, "Backfill", "counters")
        async with live(client, database):
            writing = asyncio.create_task(write())
            while not writing.done():
                await run(client, database, "Rebuild", "counters")
                await run(client, database, "Backfill", "counters", from_position=1)
            await writing
            async with database.engine.connect() as connection:
                last = await connection.scalar(text("SELECT max(n) FROM pooled"))
            await until_position(database, int(last or 0))

            async def is_right() -> bool:
                try:
                    await assert_oracle(database.engine, projection)
                except AssertionError:
                    return False
                return True

            await until(is_right, 20)
        assert len(await rows_of(database.engine, projection)) > 3
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM refold.late_events"))
