"""Snapshots that a projection makes unasked: of which moments, and how many of them it keeps."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from sqlalchemy import text
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from refold import Checkpoints, Event, Projection, Row, Snapshots
from refold.engine.live.automatic_snapshots import drop_expired_snapshots
from refold.manager.projections import ProjectionManager
from refold.projection.snapshot_policy import MADE_BY_ITSELF
from refold.stack.postgres import EmbeddedPostgres
from tests.support.counters import counters, registry_of
from tests.support.databases import (
    TEMPLATE,
    Database,
    become_template,
    drop_database,
    make_database,
)
from tests.support.events import some
from tests.support.live import live, recorded, until_position
from tests.support.runs import assert_oracle, checkpoint, leftovers, run, working, write
from tests.support.snapshots import assert_all_kept, kept_positions, kept_snapshots, until_kept

REMOVED = ("s1", "Removed", {"key": "k001"})
MILESTONE = ("m", "MilestoneReached", {"key": "k001"})


_KEPT = "refold_counters_with_snapshots"


@pytest.fixture(scope="module")
async def with_snapshots(template: EmbeddedPostgres, temporal: WorkflowEnvironment) -> None:
    """A database to copy: a run has built `counters` of 200 events, and kept that moment."""
    made = await make_database(template, TEMPLATE)
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    async with built(temporal.client, made, projection):
        assert await kept_positions(made) == [200]  # by the run that has built it
    await become_template(template, made, _KEPT)


@pytest.fixture
async def snapshotted(template: EmbeddedPostgres, with_snapshots: None) -> AsyncIterator[Database]:
    """A copy of it."""
    made = await make_database(template, _KEPT)
    yield made
    await drop_database(template, made)


@asynccontextmanager
async def built(client: Client, database: Database, projection: Projection) -> AsyncIterator[None]:
    """A worker, and a read model of 200 events."""
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        yield


async def test_one_is_made_each_time_so_many_events_have_been_applied(
    client: Client, snapshotted: Database
) -> None:
    database = snapshotted
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=150))
    async with (
        working(client, database, registry_of(projection)),
        live(client, database) as handle,
    ):
        await write(database.engine, some(each=4, start_at=300))
        await until_position(database, 360)
        assert await kept_positions(database) == [200, 350]
        manager = ProjectionManager(client, database.url)
        newest = (await manager.get_snapshots("counters"))[0]
        assert (newest.position, newest.version, newest.kept_as) == (350, 1, "changes")
        assert newest.trigger is None
        created = [e for e in await recorded(database) if e.type == "ProjectionSnapshotCreated"]
        assert [event.data["position"] for event in created] == [350]
        await handle.signal("restart")
        await write(database.engine, some(each=4, start_at=300))  # counted on from there
        await until_kept(database, 200, 350, 500)
    await assert_oracle(database.engine, projection)
    assert await assert_all_kept(database, projection) == [200, 350, 500]


async def test_many_events_at_once_make_as_many_snapshots_as_few_at_a_time(
    client: Client, snapshotted: Database
) -> None:
    database = snapshotted
    policy = Snapshots.automatic(every_n_events=65, keep_last=None)
    projection = counters().with_snapshots(policy)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(each=10, start_at=300))  # 400, in one batch of 1,000
        # The same in a run, without a live projection.
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        positions = await assert_all_kept(database, projection)
        assert positions == [200, *range(265, 601, 65)]
        async with live(client, database):
            await write(database.engine, some(each=10, start_at=7))
            await until_position(database, 1000)
        assert await assert_all_kept(database, projection) == [200, *range(265, 1001, 65)]
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


async def test_snapshot_is_of_the_moment_of_the_event_that_makes_it_due(
    client: Client, database: Database
) -> None:
    types = ["Removed", "MilestoneReached"]  # the second has no handler
    projection = counters().with_snapshots(Snapshots.manual(trigger_on=types))
    await write(database.engine, [REMOVED, MILESTONE])  # before it was built
    async with built(client, database, projection), live(client, database):
        await until_position(database, 202)
        await write(
            database.engine,
            [
                *(MILESTONE, *some(keys=50, each=1, start_at=5)),
                *(REMOVED, REMOVED, *some(keys=50, each=1, start_at=8)),
            ],
        )
        await until_position(database, 305)
    there = await kept_snapshots(database)
    assert [(one.position, one.trigger) for one in there] == [
        (203, "MilestoneReached"),
        (254, "Removed"),
        (255, "Removed"),
    ]
    await assert_all_kept(database, projection)
    await assert_oracle(database.engine, projection)


async def test_exactly_so_many_are_kept_at_any_time(client: Client, snapshotted: Database) -> None:
    database = snapshotted
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=10, keep_last=3))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Snapshot", "counters")  # somebody's own
        await write(database.engine, some(each=10, start_at=300))
        async with live(client, database):
            await until_position(database, 600)
        assert await assert_all_kept(database, projection) == [580, 590, 600]
        manager = ProjectionManager(client, database.url)
        kinds = [(one.position, one.kept_as) for one in await manager.get_snapshots("counters")]
        assert kinds == [(n, "changes") for n in (600, 590, 580)] + [(200, "copy")]
        async with database.engine.connect() as connection:
            oldest = await connection.scalar(
                text("SELECT min(position) FROM refold.snapshot_changes")
            )
            assert oldest == 580
        projection.with_snapshots(Snapshots.automatic(every_n_events=10, keep_last=1))
        await drop_expired_snapshots(database.engine, projection)
        assert await assert_all_kept(database, projection) == [600]


async def test_a_rebuilt_table_goes_on_with_the_snapshots_of_the_one_before(
    client: Client, snapshotted: Database
) -> None:
    database = snapshotted
    policy = Snapshots.automatic(every_n_events=100, keep_last=3)
    projection = counters(retained_generations=0).with_snapshots(policy)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(each=5, start_at=300))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        assert await kept_positions(database) == [200, 300, 400]
        await run(client, database, "Rebuild", "counters")
        # Its time as a generation to roll back to is over; its snapshots need it.
        assert await _statuses(database) == [(1, "base"), (2, "active")]
        assert await assert_all_kept(database, projection) == [200, 300, 400]
        await write(database.engine, some(each=5, start_at=300))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        there = await kept_snapshots(database)
        assert [(s.position, s.generation) for s in there] == [(400, 1), (500, 2), (600, 2)]
        await assert_all_kept(database, projection)
        back = await run(client, database, "Rollback", "counters", to_snapshot=400)
        assert (back.status, back.generation, back.events_processed) == ("rolled_back", 3, 200)
        await assert_oracle(database.engine, projection)
        await write(database.engine, some(each=5, start_at=300))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await drop_expired_snapshots(database.engine, projection)
        assert await assert_all_kept(database, projection) == [600, 700, 800]
        assert await _statuses(database) == [(1, "discarded"), (2, "base"), (3, "active")]
    assert await leftovers(database.engine) == []


async def test_changes_that_another_worker_has_not_kept_end_the_snapshots_before(
    client: Client, snapshotted: Database, caplog: pytest.LogCaptureFixture
) -> None:
    database = snapshotted
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(each=3, start_at=300))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        assert await kept_positions(database) == [200, 300]
        async with database.engine.begin() as connection:
            # As a worker of a version before does.
            await connection.execute(text("UPDATE refold.generations SET changes_kept_to = 310"))
        await write(database.engine, some(each=1, start_at=300))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        assert "does not keep what it changes" in caplog.text
        assert await assert_all_kept(database, projection) == [320]
        assert await checkpoint(database.engine, projection) == 360


async def test_a_failed_run_takes_its_snapshots_along(
    client: Client, snapshotted: Database
) -> None:
    database = snapshotted
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100, keep_last=1))
    async with working(client, database, registry_of(projection)):
        assert await kept_positions(database) == [200]
        await write(database.engine, [*some(each=5), ("bad", "Broken", {"key": "k001"})])
        with pytest.raises(Exception):  # noqa: B017, PT011 how it ends is others' business
            await run(client, database, "Rebuild", "counters")
        assert await assert_all_kept(database, projection) == [200]
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_the_latest_copies_are_kept_that_an_older_version_has_made_unasked(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(keep_last=1))
    async with working(client, database, registry_of(projection)):
        for who in (MADE_BY_ITSELF, "a person", MADE_BY_ITSELF, MADE_BY_ITSELF):
            await run(client, database, "Snapshot", "counters", requested_by=who)
        assert await drop_expired_snapshots(database.engine, projection) == [4, 2]
        assert await drop_expired_snapshots(database.engine, projection) == []
        left = await ProjectionManager(client, database.url).get_snapshots("counters")
        assert [one.generation for one in left] == [5, 3]
        projection.with_snapshots(Snapshots.automatic(keep_last=None))
        assert await drop_expired_snapshots(database.engine, projection) == []


async def _statuses(database: Database) -> list[tuple[int, str]]:
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text("SELECT generation, status FROM refold.generations ORDER BY generation")
        )
        return [(row.generation, row.status) for row in found]


@pytest.mark.usefixtures("counters_built")
async def test_the_checkpoint_is_moved_as_often_as_asked(
    client: Client, database: Database
) -> None:
    projection = counters().with_checkpoints(Checkpoints(every_n_events=7))
    async with working(client, database, registry_of(projection)):
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


@pytest.mark.usefixtures("counters_built")
async def test_the_checkpoint_is_moved_in_time(client: Client, database: Database) -> None:
    projection = counters().with_checkpoints(Checkpoints(every_seconds=0.1))
    count = projection.handlers["Added"]

    def slow(row: Row | None, event: Event) -> Row | None:
        if event.position > 200:
            time.sleep(0.02)
        return count(row, event)

    projection.handlers["Added"] = slow
    async with working(client, database, registry_of(projection)):
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
