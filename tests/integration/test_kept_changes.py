"""Snapshots that are kept as changes: exact whatever is written to the table afterwards."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold import Row, Snapshots
from refold.engine.live.automatic_snapshots import compact_changes
from refold.errors import NoSnapshot
from refold.manager.projections import ProjectionManager
from refold.store.snapshots import json_rows
from refold.store.snapshots.kept import Kept
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure
from tests.support.live import live, until_position, until_status
from tests.support.runs import (
    assert_oracle,
    events_upto,
    last,
    leftovers,
    queue,
    rows_of,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.snapshots import (
    assert_all_kept,
    assert_kept,
    filled,
    kept_positions,
    kept_snapshots,
    rows_at,
)
from tests.support.soaking import soak
from tests.support.stored import Stored, apart

INCREMENTAL = {"criteria": "incremental_update"}
LATEST = {"criteria": "last_n_events", "last_n": 40}


@pytest.mark.parametrize("snapshots", [8, *soak(100)])
@pytest.mark.usefixtures("counters_built")
async def test_snapshots_of_random_moments_under_appends(
    client: Client, database: Database, snapshots: int
) -> None:
    seed = random.randrange(10**6) if snapshots > 8 else 13
    print("seed", seed)
    chance = random.Random(seed)
    projection = counters(batch_size=chance.choice([3, 50, 1000]))
    projection.with_snapshots(Snapshots.manual(trigger_on="Marked", keep_last=snapshots - 2))
    async with working(client, database, registry_of(projection)):
        async with live(client, database):
            marked: list[int] = []
            while len(marked) < snapshots:
                new: list[tuple[str, str, dict[str, Any]]] = []
                for _ in range(chance.randrange(1, 60)):
                    key = f"k{chance.randrange(60):03}"
                    kind = chance.choices(["Added", "Removed", "Marked"], [20, 2, 2])[0]
                    if kind == "Marked" and len(marked) + sum(e[1] == "Marked" for e in new) >= (
                        snapshots
                    ):
                        continue
                    new.append((key, kind, {"key": key, "n": chance.randrange(9)}))
                before = await last(database)
                await write(database.engine, new)
                marked += [before + n for n, e in enumerate(new, 1) if e[1] == "Marked"]
                if chance.random() < 0.05:
                    await run(client, database, "Rebuild", "counters")
                if chance.random() < 0.1:
                    await run(client, database, "Backfill", "counters", **LATEST)
                for one in await kept_snapshots(database):
                    if chance.random() < 0.1:
                        await assert_kept(database, projection, one)
            await until_position(database, await last(database))
            assert await assert_all_kept(database, projection) == marked[2:]
            for one in chance.sample(await kept_snapshots(database), 5):
                rows, _ = await filled(database, projection, one)
                upto = await events_upto(database.engine, projection, one.position)
                assert rows == projection.fold(upto)
            one = chance.choice(await kept_snapshots(database))
            back = await run(client, database, "Rollback", "counters", to_snapshot=one.position)
            assert back.status == "rolled_back"
            await assert_oracle(database.engine, projection)
        assert await assert_all_kept(database, projection) == marked[2:]
    assert await leftovers(database.engine) == []


async def test_snapshot_stays_as_it_was_when_the_table_is_changed_and_put_right_in_place(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=200))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with database.engine.begin() as connection:
            # By hand, on a table that stands: snapshots of it have that, too.
            await connection.execute(text("UPDATE counters SET sum = 5 WHERE key < 'k010'"))
            await connection.execute(text("DELETE FROM counters WHERE key = 'k020'"))
            await connection.execute(text("INSERT INTO counters VALUES ('stray', 1, 1, 1)"))
        (snapshot,) = await kept_snapshots(database)
        before = await rows_at(database, projection, snapshot)
        assert before["stray"]["count"] == 1
        assert before == await rows_of(database.engine, projection)
        # What was changed by hand is found by whoever restores it.
        request = {"projection": "counters", "to_snapshot": 200}
        failed = await failure(await start(client, database, "Rollback", request))
        assert failed.type == "VerificationFailed"
        assert "somebody has changed its table by hand" in failed.message
        assert await rows_of(database.engine, projection) == before
        assert await leftovers(database.engine) == []
        await run(client, database, "Backfill", "counters")
        await assert_oracle(database.engine, projection)
        assert await rows_at(database, projection, snapshot) == before
        # What has not changed takes no room.
        async with database.engine.connect() as connection:
            kept = await connection.execute(
                text(
                    "SELECT json_array_length(changes -> 'rows') AS rows, "
                    "json_array_length(changes -> 'none') AS none FROM refold.snapshot_changes"
                )
            )
            rows, none = map(sum, zip(*kept, strict=True))
        assert (rows, none) == (11, 1)
        await write(database.engine, some(keys=60, each=2))
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        await run(client, database, "Backfill", "counters", **LATEST)
        assert await rows_at(database, projection, snapshot) == before
        # One of a position where something was put right before has what was right then.
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 6 WHERE key < 'k010'"))
        await run(client, database, "Backfill", "counters")
        projection.with_snapshots(Snapshots.automatic(every_n_events=50))
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        assert await kept_positions(database) == [200, 320]
        await assert_kept(database, projection, (await kept_snapshots(database))[-1])
        assert await rows_at(database, projection, snapshot) == before


@pytest.mark.parametrize("way", ["halves", *soak("streams")])
async def test_other_keys_too(client: Client, database: Database, way: str) -> None:
    projection = next(one for one in siblings() if one.name == way)
    projection.with_snapshots(Snapshots.automatic(every_n_events=30, keep_last=None))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", way)
        await write(database.engine, some(keys=50, each=4, start_at=2))
        await run(client, database, "Backfill", way, **INCREMENTAL)
        positions = await assert_all_kept(database, projection)
        # What is refolded makes none: whole keys come one after another, not moments.
        assert positions == [200, *range(230, 401, 30)]
    await assert_oracle(database.engine, projection)


async def test_dead_letters_are_restored_as_they_were(client: Client, database: Database) -> None:
    broken = counters(on_poison="set_aside").with_snapshots(Snapshots.manual("Marked"))
    await write(database.engine, some(keys=5))
    mended = counters(on_poison="set_aside").with_snapshots(Snapshots.manual("Marked"))
    mended.handlers["Broken"] = mended.handlers["Removed"]
    async with working(client, database, registry_of(broken)):
        await run(client, database, "Rebuild", "counters")
        await write(
            database.engine,
            [
                *[("x", "Broken", {"key": "k001"}), *some(keys=5, each=1), ("x", "Marked", {})],
                *[("x", "Broken", {"key": "k002"}), *some(keys=5, each=1)],
            ],
        )
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        (snapshot,) = await kept_snapshots(database)
        rows, letters = await filled(database, broken, snapshot)
        assert letters == [(["k001"], 26)]
        assert rows["k001"]["count"] == 5
    async with working(client, database, registry_of(mended)):
        await run(client, database, "Backfill", "counters", criteria="dead_letters")
        await assert_oracle(database.engine, mended)
        assert await filled(database, mended, snapshot) == (rows, letters)
        back = await run(client, database, "Rollback", "counters", to_snapshot=snapshot.position)
        assert back.status == "rolled_back"
        # The key is held as it was then, and can be retried.
        await run(client, database, "Backfill", "counters", criteria="dead_letters")
        await assert_oracle(database.engine, mended)


@pytest.mark.usefixtures("counters_built")
async def test_restored_by_python_and_dropped(client: Client, database: Database) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    await write(database.engine, some(each=4))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        assert [one.position for one in await manager.get_snapshots("counters")] == [300, 200]
        upto = await events_upto(database.engine, projection, 200)
        assert await manager.read_snapshot(projection, 200) == projection.fold(upto)
        newest = await manager.restore_from_snapshot("counters")
        assert (newest.status, newest.position, newest.events_processed) == ("rolled_back", 360, 60)
        assert newest.note is not None
        assert newest.note.startswith("the snapshot of position 300; the snapshot stays")
        back = await manager.restore_from_snapshot("counters", position=200)
        assert back.events_processed == 160
        with pytest.raises(NoSnapshot, match=r"position of a snapshot.* \(300, 200\), got 7"):
            await manager.restore_from_snapshot("counters", position=7)
        await manager.drop_snapshot("counters", position=200)
        assert await assert_all_kept(database, projection) == [300]
        with pytest.raises(NoSnapshot, match=r"\(300\), got 200"):
            await manager.drop_snapshot("counters", position=200)
    await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("way", ["counters", *soak("halves")])
@pytest.mark.usefixtures("counters_built")
async def test_changes_between_two_snapshots_are_made_fewer(
    client: Client, database: Database, way: str
) -> None:
    projection = next(one for one in (counters(), *siblings()) if one.name == way)
    projection.with_snapshots(Snapshots.manual("Marked", create=_kept_of))
    removed = [("s1", "Removed", {"key": "k001"}), ("x", "Marked", {"key": "x"})]
    await write(database.engine, removed)
    registry = registry_of(projection)
    async with working(client, database, registry):
        if way != "counters":
            await run(client, database, "Rebuild", way)
        for number in range(2):
            new = some(keys=50, each=2, start_at=number)
            await write(database.engine, [*removed, *new])
            for _ in range(2):  # each time somebody follows, it is forgotten what was kept
                await write(database.engine, some(keys=9, each=1))
                await run(client, database, "Backfill", way, **INCREMENTAL)
            before = await _number_of_changes(database)
            fewer = await compact_changes(database.engine, registry, way, at_least=2)
            assert fewer > 0
            assert await _number_of_changes(database) == before - fewer
            await assert_all_kept(database, projection)
            for snapshot in await kept_snapshots(database, way):
                assert await _json_of(database, snapshot) == {
                    orjson.dumps([key]).decode(): _kept_of(row)["count"]
                    for key, row in (await rows_at(database, projection, snapshot)).items()
                }
        assert await compact_changes(database.engine, registry, way, at_least=2) == 0
    await assert_oracle(database.engine, projection)


def _kept_of(row: Row) -> dict[str, Any]:
    return {"count": row["count"]}


async def _number_of_changes(database: Database) -> int:
    async with database.engine.connect() as connection:
        found = await connection.scalar(text("SELECT count(*) FROM refold.snapshot_changes"))
    return int(found or 0)


async def _json_of(database: Database, snapshot: Kept) -> dict[str, Any]:
    """What `create` made of each row of a snapshot."""
    async with database.engine.connect() as connection, connection.begin() as transaction:
        await connection.execute(text("CREATE SCHEMA looking"))
        found = {
            orjson.dumps(key).decode(): orjson.loads(made)["count"]
            async for some_rows in json_rows.as_of(connection, snapshot, "looking")
            for key, made in some_rows
        }
        await transaction.rollback()
    return found


@pytest.mark.usefixtures("counters_built")
async def test_snapshot_that_is_being_restored_stays_until_that_is_done(
    client: Client, database: Database
) -> None:
    policy = Snapshots.automatic(every_n_events=10, keep_last=2)
    projection = counters(batch_size=5).with_snapshots(policy)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(each=1))
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        assert await kept_positions(database) == [230, 240]
        async with live(client, database):
            async with database.engine.begin() as blocker:
                await blocker.execute(text("LOCK TABLE counters IN ACCESS SHARE MODE"))
                request = {"projection": "counters", "to_snapshot": 230}
                handle = await start(client, database, "Rollback", request)

                async def swapping() -> bool:
                    return bool((await handle.query("progress"))["phase"] == "swapping")

                await until(swapping)
                await write(database.engine, some(each=1))
                await until_position(database, 280)
                assert await kept_positions(database) == [230, 270, 280]
            await asyncio.wait_for(handle.result(), 60)
        assert await assert_all_kept(database, projection) == [270, 280]
    await assert_oracle(database.engine, projection)


async def test_keys_that_are_uncertain_are_folded_anew_and_snapshots_stay(
    client: Client, database: Database, stored: Stored
) -> None:
    projection = apart("sql").with_snapshots(Snapshots.automatic(every_n_events=90))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection), **stored.of("sql")):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database) as handle:
            await stored.until_away("sql")
            await write(database.engine, some(start_at=7))
            await until_position(database, 400)
            assert await assert_all_kept(database, projection) == [200, 290, 380]
            await handle.signal("stop")
            await until_status(handle, "stopped")
            async with database.engine.begin() as connection:
                await connection.execute(text("UPDATE counters SET sum = 1"))
            before = [
                await rows_at(database, projection, s) for s in await kept_snapshots(database)
            ]
            async with stored.record() as (store, name, record):
                assert record is not None
                behind = replace(record, position=360, next=400)
                assert await store.advance(name, record, behind)
            await handle.signal("start")
            await write(database.engine, some(keys=1, each=1))
            await until_position(database, 401)
            assert await assert_oracle(database.engine, projection)
            after = [await rows_at(database, projection, s) for s in await kept_snapshots(database)]
            assert after == before
