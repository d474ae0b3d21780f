"""Snapshots that are kept as changes: exact whatever is written to the table afterwards."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Integer, MetaData, Numeric, Table, Text, text
from temporalio.client import Client

from refold import Event, Projection, Row, Snapshots
from refold.engine.folding.restored_snapshot import restore_snapshot
from refold.errors import NoSnapshot
from refold.manager.projections import ProjectionManager
from refold.messages.run.plan import Plan
from refold.projection.registry import Registry
from refold.store import dead_letters, generations
from refold.store.generations import BUILDING
from refold.store.snapshots import copies
from refold.store.snapshots.kept import Kept
from refold.store.tables import read_models
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure
from tests.support.live import live, until_position
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
    kept_positions,
    kept_snapshots,
    rows_at,
)
from tests.support.soaking import soak
from tests.support.versions import doubled

INCREMENTAL = {"criteria": "incremental_update"}
LATEST = {"criteria": "last_n_events", "last_n": 40}


async def filled(
    database: Database, projection: Projection, snapshot: Kept
) -> tuple[dict[Any, Any], list[tuple[Any, int]]]:
    """The rows and the dead letters that a new generation begins with, when it is restored."""
    plan = Plan(
        run_id="r",
        projection=projection.name,
        version=projection.version,
        generation=1,
        atomic=True,
        position=snapshot.position,
        head=0,
        partitions=0,
        max_concurrency=1,
        batch_size=1,
        total_events=0,
        heartbeat_seconds=1,
        snapshot=snapshot.id,
    )
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        async with connection.begin() as transaction:
            source = await generations.get(connection, projection.name, snapshot.generation)
            assert source is not None
            copy = await copies.create_copy(connection, projection, run_id="r")
            assert copy.status == BUILDING
            count = await restore_snapshot(connection, projection, plan, copy, source)
            table = read_models.quoted(copy.schema_name, copy.table_name)
            rows = {
                row.key: dict(row._mapping)
                for row in await connection.execute(text(f"SELECT * FROM {table}"))
            }
            assert count == len(rows)
            letters = await dead_letters.listed(connection, projection.name, copy.generation)
            await transaction.rollback()
    return rows, sorted((letter.key, letter.position) for letter in letters)


@pytest.mark.parametrize("snapshots", [12, *soak(100)])
async def test_snapshots_of_random_moments_under_appends(
    client: Client, database: Database, snapshots: int
) -> None:
    seed = random.randrange(10**6) if snapshots > 12 else 13
    print("seed", seed)
    chance = random.Random(seed)
    projection = counters(batch_size=chance.choice([3, 50, 1000]))
    projection.with_snapshots(Snapshots.manual(trigger_on="Marked", keep_last=snapshots - 2))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
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


async def test_snapshot_stays_as_it_was_when_the_table_is_put_right_in_place(
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


async def test_restoring_finds_that_the_table_was_changed_by_hand(
    client: Client, database: Database
) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=200))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0"))
        before = await rows_of(database.engine, projection)
        request = {"projection": "counters", "to_snapshot": 200}
        failed = await failure(await start(client, database, "Rollback", request))
        assert failed.type == "VerificationFailed"
        assert "somebody has changed its table by hand" in failed.message
        assert await rows_of(database.engine, projection) == before
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("way", ["streams", "halves"])
async def test_other_keys_too(client: Client, database: Database, way: str) -> None:
    projection = next(one for one in siblings() if one.name == way)
    projection.with_snapshots(Snapshots.automatic(every_n_events=30, keep_last=None))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", way)
        await write(database.engine, some(keys=50, each=4, start_at=2))
        await run(client, database, "Backfill", way, **INCREMENTAL)
        positions = await assert_all_kept(database, projection)
        # One whose key is a function is followed from the first event on.
        begins = [200] if way == "streams" else list(range(30, 201, 30))
        assert positions == [*begins, *range(begins[-1] + 30, 401, 30)]
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


async def test_restored_by_python_and_dropped(client: Client, database: Database) -> None:
    projection = counters().with_snapshots(Snapshots.automatic(every_n_events=100))
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, some(each=4))
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        assert [one.position for one in await manager.get_snapshots("counters")] == [300, 200]
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


async def test_snapshot_that_is_being_restored_stays_until_that_is_done(
    client: Client, database: Database
) -> None:
    policy = Snapshots.automatic(every_n_events=10, keep_last=2)
    projection = counters(batch_size=5).with_snapshots(policy)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
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


def _create(row: dict[str, Any]) -> dict[str, Any]:
    return {"times": row["count"], "total": row["sum"], "latest": row["last"]}


def _restore(kept: dict[str, Any]) -> dict[str, Any]:
    return {"times": kept["times"], "sum": Decimal(kept["total"]), "last": kept["latest"]}


def renamed() -> Projection:
    """Version 2 of `counters`: ``count`` is called ``times``."""
    old = counters()
    columns: list[Column[Any]] = [
        Column("key", Text, primary_key=True),
        Column("times", BigInteger, nullable=False),
        Column("sum", Numeric(12, 2), nullable=False),
        Column("last", Integer),
    ]
    table = Table("counters", MetaData(), *columns)
    new = Projection("counters", version=2, table=table, key="data.key")

    @new.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        before = row and {"count": row["times"], "sum": row["sum"], "last": row["last"]}
        after = old.handlers["Added"](before, event)
        assert after is not None
        return {"times": after["count"], "sum": after["sum"], "last": after["last"]}

    new.on("Removed")(old.handlers["Removed"])
    return new


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside version 1"])
async def test_another_version_takes_what_create_has_kept(
    client: Client, database: Database, beside: bool
) -> None:
    old = counters(batch_size=20)
    old.with_snapshots(Snapshots.automatic(every_n_events=50, create=_create))
    new = renamed().with_snapshots(Snapshots.none(restore=_restore))
    more = [("s1", "Removed", {"key": "k001"}), *some(keys=45, each=2, start_at=3)]
    await write(database.engine, some())
    async with working(client, database, registry_of(old)):
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, more)
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        await run(client, database, "Backfill", "counters")
        assert await assert_all_kept(database, old) == [200, 250]
    for snapshot in await kept_snapshots(database):
        assert snapshot.has_json
        rows, _ = await filled(database, new, snapshot)
        assert rows == new.fold(await events_upto(database.engine, new, snapshot.position))
    registry = Registry([old, new]) if beside else registry_of(new)
    named = {"as_version": 2} if beside else {}
    async with working(client, database, registry):
        back = await run(client, database, "Rollback", "counters", to_snapshot=200, **named)
        assert (back.status, back.events_processed) == ("rolled_back", 91)
        assert "made by version 1 and taken by version 2" in (back.note or "")
        await assert_oracle(database.engine, new)
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            {"to_snapshot": 199},
            "the position of a snapshot of 'counters' (200",
        ),
        ({"to_snapshot": 200, "as_version": 2}, "without create="),
        ({"to_snapshot": 200, "as_version": 9}, "a registered version of 'counters' (1, 2), got 9"),
        ({"to_snapshot": 200, "to_generation": 1}, "expected one of to_generation, to_version and"),
        ({"as_version": 2}, "as_version: expected with to_snapshot only"),
    ],
)
async def test_what_cannot_be_restored_is_refused(
    client: Client, database: Database, request_: dict[str, Any], expected: str
) -> None:
    old = counters().with_snapshots(Snapshots.automatic(every_n_events=50))
    await write(database.engine, some())
    async with working(client, database, registry_of(old)):
        await run(client, database, "Rebuild", "counters")
    async with working(client, database, Registry([old, doubled()])):
        handle = await start(client, database, "Rollback", {"projection": "counters", **request_})
        assert expected in (await failure(handle)).message
    assert await leftovers(database.engine) == []


async def test_create_that_makes_no_json_stops_the_projection_and_says_so(
    client: Client, database: Database
) -> None:
    policy = Snapshots.automatic(every_n_events=300, create=lambda row: {"odd": object()})
    projection = counters().with_snapshots(policy)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await write(database.engine, some(each=3))
        request = {"projection": "counters", **INCREMENTAL}
        failed = await failure(await start(client, database, "Backfill", request))
        assert failed.type == "SnapshotRejected"
        assert "a value that JSON cannot hold: object: mend it" in failed.message
    assert await kept_positions(database) == []
    await assert_oracle(database.engine, projection)
