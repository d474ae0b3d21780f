"""A key that is a function: its keys are computed first, then it is as a key that is a path."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, Table, text, update
from temporalio.client import Client, WorkflowFailureError

from refold import Event, Projection, Row
from refold.source import oracle
from refold.source.oracle import Bounds
from refold.source.port.sent import sent_to_key
from refold.store.side_keys.tables import create, side_table
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.keyed import COLUMNS, KEYS, keyed, lose_keys, of_text
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    leftovers,
    rows_of,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak


@pytest.mark.parametrize("key", [KEYS[1], *soak(KEYS[0], *KEYS[2:])])
async def test_a_rebuild_has_partitions_and_verifies_samples(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    key: Callable[[Event], Any],
) -> None:
    projection = keyed(key, partitions=3, batch_size=20)
    await write(database.engine, some(40))
    # All events would be too many to fold them again: only those of some keys are.
    monkeypatch.setattr(oracle, "BOUNDS", Bounds(events=150))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "keyed")
        handle = await start(client, database, "Rebuild", {"projection": "keyed"})
        result = await handle.result()
        plan, diff = await handle.query("plan"), await handle.query("diff")
        progress = await handle.query("progress")
    rows = await assert_oracle(database.engine, projection)
    assert plan["partitions"] == 3
    assert progress["keyed_events"] == progress["events_to_key"] == 200
    assert result.events_processed == progress["total_events"]
    assert diff["folded_again"] > 0
    assert diff["unchanged"] == len(rows)
    assert await leftovers(database.engine) == []


async def test_a_repair_touches_the_selected_keys_only(client: Client, database: Database) -> None:
    projection = keyed(partitions=3)
    await write(database.engine, some(40))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "keyed")
        right = await rows_of(database.engine, projection)
        async with database.engine.begin() as connection:
            await connection.execute(update(projection.table).values(count=-1))
        dry = await run(client, database, "Backfill", "keyed", from_position=199, dry_run=True)
        result = await run(client, database, "Backfill", "keyed", from_position=199)
    assert dry.plan is not None
    assert (dry.plan.total_events, dry.plan.generation) == (200, 1)
    assert "which keys are repaired" in str(dry.plan.note)
    assert result.generation == 1
    assert result.in_place
    async with database.engine.connect() as connection:
        log = "SELECT data FROM refold.events WHERE position >= 199"
        selected = set()
        for data in await connection.scalars(text(log)):
            made = of_text(Event(1, "s", 1, "Added", data, {}, None))  # type: ignore[arg-type]
            selected |= {made} if isinstance(made, str) else set(made or ())
    assert selected
    for key, row in (await rows_of(database.engine, projection)).items():
        assert row == (right[key] if key in selected else {**right[key], "count": -1})


async def test_keys_that_a_crash_has_taken_are_computed_again(
    client: Client, database: Database
) -> None:
    """A crash of PostgreSQL empties both tables, as they are unlogged."""
    projection = keyed(partitions=2, batch_size=15)
    await write(database.engine, some(40))
    request = {"projection": "keyed", "max_concurrency": 1, "events_per_second": 200}
    async with working(client, database, registry_of(projection), segment_seconds=0.05):
        handle = await start(client, database, "Rebuild", request)
        done = "SELECT coalesce(sum(batches), 0) FROM refold.partitions"

        async def refolding() -> bool:
            async with database.engine.connect() as connection:
                return int(await connection.scalar(text(done)) or 0) > 2

        await until(refolding)
        await lose_keys(database)
        assert (await handle.result()).status == "completed"
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


async def test_a_key_that_raises_obeys_the_poison_policy(
    client: Client, database: Database
) -> None:
    projection = keyed(partitions=2)
    await write(database.engine, [*some(10), ("s", "Added", {"key": "a", "n": 1, "broken": True})])
    async with working(client, database, registry_of(projection)):
        with pytest.raises(WorkflowFailureError) as failed:
            await run(client, database, "Rebuild", "keyed")
        assert "51" in str(failed.value.cause)
        assert await leftovers(database.engine) == []
        result = await run(client, database, "Rebuild", "keyed", on_poison="set_aside")
        assert result.dead_letters == 1
        # Mended, as if the function took it now.
        async with database.engine.begin() as connection:
            mended = "UPDATE refold.events SET data = data - 'broken' WHERE position = 51"
            await connection.execute(text(mended))
        request = {"criteria": "dead_letters"}
        result = await run(client, database, "Backfill", "keyed", **request)
        assert result.generation == 1
        assert result.dead_letters == 0
    await assert_oracle(database.engine, projection)


async def test_events_that_are_followed_meanwhile_are_folded_too(
    client: Client, database: Database
) -> None:
    projection = keyed(partitions=2)
    await write(database.engine, some(20))
    async with working(client, database, registry_of(projection), segment_seconds=0.2):
        await run(client, database, "Backfill", "keyed")
        live = await start(
            client, database, "Projection", {"projection": "keyed"}, workflow_id="live/keyed"
        )
        policy = {"batch_size": 5, "events_per_second": 150}
        request = {"projection": "keyed", "criteria": "full_rebuild", **policy}
        handle = await start(client, database, "Backfill", request)

        async def refolding() -> bool:
            async with database.engine.connect() as connection:
                sums = "SELECT coalesce(sum(batches), 0) FROM refold.partitions"
                return int(await connection.scalar(text(sums)) or 0) > 1

        await until(refolding)
        for more in range(3):
            await write(database.engine, some(8, 2, start_at=1000 + 16 * more))
            position = 100 + 16 * (more + 1)

            async def followed(position: int = position) -> bool:
                return await checkpoint(database.engine, projection) >= position

            await until(followed)
        assert (await handle.result()).status == "completed"
        await live.signal("stop")
    await assert_oracle(database.engine, projection)


async def test_a_type_whose_keys_are_not_computed_first_is_followed(
    client: Client, database: Database
) -> None:
    projection = Projection(
        "numbers",
        table=Table(
            "numbers",
            MetaData(),
            Column("n", Numeric(6, 2), primary_key=True),
            Column("count", Integer, nullable=False),
        ),
        key=lambda event: Decimal(event.data["n"] % 7),
    )

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        return {"count": 1 + (row["count"] if row else 0)}

    await write(database.engine, some(10))
    async with working(client, database, registry_of(projection)):
        built = await run(client, database, "Rebuild", "numbers")
        repaired = await run(client, database, "Backfill", "numbers", from_position=49)
    assert "n Numeric(precision=6, scale=2) is no type" in str(built.note)
    assert "all keys are built in a new table" in str(repaired.note)
    assert repaired.generation == 2
    await assert_oracle(database.engine, projection)


async def test_a_heavy_event_of_several_keys(client: Client, database: Database) -> None:
    """Its data are read apart from the others, also for both keys at once."""
    projection = keyed(partitions=1)
    heavy = {"key": "a", "n": 3, "text": "x" * 20_000}
    await write(database.engine, [("s", "Added", {**heavy, "key": f"half {n}"}) for n in range(4)])
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "keyed")
    assert len(await assert_oracle(database.engine, projection)) == 4


def glance(event: Event) -> Any:
    return event.stream_id


def _glance_further(event: Event) -> Any:
    return event.data["key"]


def of_glance(event: Event) -> Any:
    """It lets nobody know that it did not get what it asked for."""
    try:
        return glance(event)
    except BaseException:
        return "nothing"


async def test_a_function_is_sent_what_it_reads(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Should it read more than its code shows, all is sent to it, and nothing wrong is kept."""
    monkeypatch.setitem(COLUMNS, of_glance, COLUMNS[of_text])
    assert set(sent_to_key(keyed()).fields) == {"position", "stream_id", "type", "data"}
    projection = keyed(of_glance, partitions=2)
    assert set(sent_to_key(projection).fields) == {"position", "stream_id", "type"}
    monkeypatch.setattr(sys.modules[__name__], "glance", _glance_further)
    await write(database.engine, some(10))
    async with working(client, database, registry_of(projection)):
        with caplog.at_level(logging.WARNING):
            await run(client, database, "Rebuild", "keyed")
    assert "nothing" not in await assert_oracle(database.engine, projection)
    assert "keyed reads data of events, which its code does not show" in caplog.text
    assert sent_to_key(projection).is_whole


async def test_side_tables_that_nobody_needs_are_swept(client: Client, database: Database) -> None:
    projection = keyed()
    side = side_table(projection, "gone")
    async with database.engine.begin() as connection:
        await create(connection, side)
        # Readers have unlogged tables of their own.
        await connection.execute(text("CREATE UNLOGGED TABLE keys_mine (n int)"))
    looked = await Sweep(database.engine, TemporalExecutions(client)).run_once()
    assert sorted(looked.done) == ["refold.key_slices_gone", "refold.keys_gone"]
    assert await leftovers(database.engine) == []
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM keys_mine")) == 0
