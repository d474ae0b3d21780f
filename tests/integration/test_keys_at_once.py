"""Functions that take many events of a key at once, in real runs: poison events, keys, criteria."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
from sqlalchemy import update
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.manager.projections import ProjectionManager
from refold.requests.poison_policy import OnPoison
from refold.source.port.sent import sent_of
from tests.support.at_once import at_once
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.keyed import keyed, of_text
from tests.support.letters import BAD, assert_held_oracle, failed, held
from tests.support.live import live, until_position
from tests.support.runs import assert_oracle, leftovers, queue, run, start, working, write


async def test_a_poison_event_is_found_among_many(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    projection = at_once(batch_size=40, partitions=2, on_poison=OnPoison.SET_ASIDE)
    assert set(sent_of(projection).fields) == {"position", "stream_id", "type", "data"}
    await write(database.engine, [*some(), BAD, *some(start_at=50)])
    async with working(client, database, registry_of(projection)):
        with caplog.at_level(logging.WARNING, "refold"):
            await run(client, database, "Rebuild", "counters")
        said = "of one key, from position 21 to "
        assert said in caplog.text
        rows = await assert_held_oracle(database, projection)
        assert await held(database) == {("k020",): 201}
        assert (rows["k020"]["count"], rows["k021"]["count"]) == (5, 10)
        async with live(client, database):
            other = ("bad", "Broken", {"key": "k030"})
            await write(database.engine, [*some(each=2), other, *some(each=1)])
            await until_position(database, 522)
        rows = await assert_held_oracle(database, projection)
        assert await held(database) == {("k020",): 201, ("k030",): 482}
        manager = ProjectionManager(client, database.url, task_queue=queue(database))
        (life,) = (await manager.explain(projection, "k021")).lives
        assert [step.after and step.after["count"] for step in life.steps] == [*range(1, 14)]
        result = await run(client, database, "Backfill", "counters", from_position=500)
        assert result.status == "completed"
        await assert_held_oracle(database, projection)
    assert await leftovers(database.engine) == []


async def test_without_the_policy_the_event_ends_the_run(
    client: Client, database: Database
) -> None:
    projection = at_once(batch_size=40)
    await write(database.engine, [*some(), BAD, *some(start_at=50)])
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        failure = await failed(handle)
    assert failure.type == "PoisonEvent"
    assert "event 201 (Broken of stream 'bad')" in failure.message
    assert "support/at_once.py:" in failure.message
    assert await leftovers(database.engine) == []


async def test_keys_of_a_function_are_taken_at_once(client: Client, database: Database) -> None:
    right = keyed(partitions=2, batch_size=60)
    projection = Projection("keyed", table=right.table, key=of_text, backfill=right.backfill)
    calls: list[int] = []

    @projection.fold_key("Added", "Removed")
    def fold(row: Row | None, events: Sequence[Event]) -> Row | None:
        calls.append(len(events))
        for event in events:
            before = row or {"count": 0, "sum": 0}
            total = 3 * before["sum"] % 1000 + event.data["n"]
            row = {"count": before["count"] + 1, "sum": total}
        return row

    await write(database.engine, some(40))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "keyed")
        rows = await assert_oracle(database.engine, projection)
        assert max(calls) > 1
        async with database.engine.begin() as connection:
            await connection.execute(update(projection.table).values(count=-1))
        await run(client, database, "Backfill", "keyed")
    assert await assert_oracle(database.engine, projection) == rows
    assert len(rows) > 40
