"""Snapshots that a live projection makes unasked, and how many of them are kept."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

from sqlalchemy import text
from temporalio.client import Client

from refold import Checkpoints, Event, Projection, Row, Snapshots
from refold.engine.live.automatic_snapshots import drop_expired_snapshots, tally
from refold.manager.projections import ProjectionManager
from refold.messages.live import SnapshotTally
from refold.projection.snapshot_policy import MADE_BY_ITSELF
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after, live, until_position
from tests.support.runs import assert_oracle, run, until, working, write

TRIGGER = [("s1", "Removed", {"key": "k001"})]


@asynccontextmanager
async def built(client: Client, database: Database, projection: Projection) -> AsyncIterator[None]:
    """A worker, and a read model of 200 events."""
    await write(database.engine, some())
    async with (
        ended_after(client, "snapshot/counters"),
        working(client, database, registry_of(projection)),
    ):
        await run(client, database, "Rebuild", "counters")
        yield


async def positions(database: Database) -> list[int]:
    """Of the snapshots, the oldest first."""
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(
                "SELECT position FROM refold.generations WHERE status = 'snapshot' "
                "ORDER BY generation"
            )
        )
        return list(found.scalars())


async def until_snapshots(database: Database, *expected: int) -> None:
    async def there() -> bool:
        return await positions(database) == list(expected)

    await until(there, 30)


async def counted(
    database: Database, projection: Projection, before: SnapshotTally | None, **at: int
) -> tuple[int, int, int, bool]:
    """The next tally: since, upto, events, due."""
    async with database.engine.connect() as connection:
        found = await tally(connection, projection, before, **{"began": 0, **at})
    assert found is not None
    return found.since, found.upto, found.events, found.due


async def test_one_is_made_each_time_so_many_events_have_been_applied(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=150))
    async with built(client, database, projection), live(client, database):
        await until_snapshots(database, 200)
        await write(database.engine, some(each=4, start_at=300))
        await until_snapshots(database, 200, 360)
        manager = ProjectionManager(client, database.url)
        newest = (await manager.get_snapshots("counters"))[0]
        assert (newest.position, newest.version) == (360, 1)
        async with database.engine.connect() as connection:
            asked = await connection.execute(text("SELECT requested_by, kind FROM refold.runs"))
            assert (MADE_BY_ITSELF, "Snapshot") in [tuple(row) for row in asked]
    await assert_oracle(database.engine, projection)


async def test_one_is_made_when_an_event_that_triggers_it_has_been_applied(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.manual(trigger_on="Removed"))
    await write(database.engine, TRIGGER)  # before it was live
    async with built(client, database, projection), live(client, database):
        await write(database.engine, some(each=1, start_at=300))
        await until_position(database, 241)
        assert await positions(database) == []
        await write(database.engine, TRIGGER)
        await until_snapshots(database, 242)


async def test_each_position_is_counted_once(client: Client, database: Database) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=150))
    async with built(client, database, projection):
        first = await counted(database, projection, None, position=100)
        assert first == (0, 100, 100, False)
        before = SnapshotTally(since=0, upto=100, events=100)
        assert await counted(database, projection, before, position=149) == (0, 149, 149, False)
        assert await counted(database, projection, before, position=200) == (0, 200, 150, True)
        # What was counted is not looked at again.
        ahead = SnapshotTally(since=0, upto=190, events=7)
        assert await counted(database, projection, ahead, position=200) == (0, 200, 17, False)
        # Set back, it begins anew; so it does after any snapshot.
        assert await counted(database, projection, before, position=50) == (50, 50, 0, False)
        await run(client, database, "Snapshot", "counters")
        assert await counted(database, projection, before, position=200) == (200, 200, 0, False)


async def test_it_waits_while_a_run_holds_the_projection(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    async with built(client, database, projection):
        holding = "INSERT INTO refold.leases VALUES ('counters', 'r', 'w', 'n')"
        async with database.engine.begin() as connection:
            await connection.execute(text(holding))
        assert await counted(database, projection, None, position=200) == (0, 200, 100, False)
        async with database.engine.begin() as connection:
            await connection.execute(text("DELETE FROM refold.leases"))
        assert await counted(database, projection, None, position=200) == (0, 200, 100, True)
        assert await _no_tally(database, counters())


async def _no_tally(database: Database, projection: Projection) -> bool:
    async with database.engine.connect() as connection:
        return await tally(connection, projection, None, began=0, position=200) is None


async def test_the_latest_are_kept_and_those_that_somebody_asked_for(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(keep_last=2))
    async with built(client, database, projection):
        for who in (MADE_BY_ITSELF, "a person", MADE_BY_ITSELF, MADE_BY_ITSELF, MADE_BY_ITSELF):
            await run(client, database, "Snapshot", "counters", requested_by=who)
        assert await drop_expired_snapshots(database.engine, projection) == [4, 2]
        assert await drop_expired_snapshots(database.engine, projection) == []
        left = await ProjectionManager(client, database.url).get_snapshots("counters")
        assert [one.generation for one in left] == [6, 5, 3]
        projection.with_snapshots(Snapshots.automatic(keep_last=None))
        assert await drop_expired_snapshots(database.engine, projection) == []


async def test_the_checkpoint_is_moved_as_often_as_asked(
    client: Client, database: Database
) -> None:
    projection = counters().with_checkpoints(Checkpoints(every_n_events=7))
    async with built(client, database, projection):
        async with database.engine.begin() as connection:
            for statement in _WATCHING:
                await connection.execute(text(statement))
        async with live(client, database):
            await write(database.engine, some(each=2, start_at=300))
            await until_position(database, 280)
        async with database.engine.connect() as connection:
            found = await connection.execute(text("SELECT position FROM moves ORDER BY position"))
            moves = [200, *found.scalars()]
        assert moves[-1] == 280
        assert max(after - before for before, after in pairwise(moves)) == 7


async def test_the_checkpoint_is_moved_in_time(client: Client, database: Database) -> None:
    projection = counters().with_checkpoints(Checkpoints(every_seconds=0.1))
    count = projection.handlers["Added"]

    def slow(row: Row | None, event: Event) -> Row | None:
        if event.position > 200:
            time.sleep(0.02)
        return count(row, event)

    projection.handlers["Added"] = slow
    async with built(client, database, projection):
        async with database.engine.begin() as connection:
            for statement in _WATCHING:
                await connection.execute(text(statement))
        async with live(client, database):
            await write(database.engine, some(each=2, start_at=300))
            await until_position(database, 280)
        async with database.engine.connect() as connection:
            found = await connection.execute(text("SELECT position FROM moves ORDER BY position"))
            moves = [200, *found.scalars()]
        # Five calls take a tenth of a second; the watch looks a little later on a busy machine.
        assert max(after - before for before, after in pairwise(moves)) < 40
    await assert_oracle(database.engine, projection)


_WATCHING = (
    "CREATE TABLE moves (position bigint)",
    """
    CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO moves VALUES (NEW.position);
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER watching AFTER UPDATE ON refold.generations FOR EACH ROW
    WHEN (OLD.position IS DISTINCT FROM NEW.position) EXECUTE FUNCTION watch()
    """,
)
