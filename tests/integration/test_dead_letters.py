"""Poison events set aside: their keys are held, all else is right, and they can be healed."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Numeric, Table, Text, text
from temporalio.client import Client

from refold import BackfillPolicy, Projection
from refold.manager.projections import ProjectionManager
from refold.requests.poison_policy import OnPoison
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import (
    BAD,
    MISFIT,
    aside,
    assert_held_oracle,
    failed,
    held,
    letters,
    mended,
)
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, leftovers, queue, rows_of, run, start, working, write
from tests.support.soaking import soak


async def test_one_of_a_thousand_streams_is_poisoned_and_healed(
    client: Client, database: Database
) -> None:
    broken = aside(batch_size=200)
    await write(database.engine, [*some(1000, 1), BAD, *some(1000, 1, start_at=5000)])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with ended_after(client, "backfill/counters", "rebuild/counters"):
        async with working(client, database, registry_of(broken)):
            handle = await start(client, database, "Rebuild", {"projection": "counters"})
            result = await handle.result()
            assert (result.status, result.events_processed) == ("completed", 2001)
            assert result.dead_letters == 1
            assert (await handle.query("progress"))["dead_letters"] == 1
            (letter,) = await manager.get_dead_letters("counters")
            assert (letter.key, letter.position, letter.type) == (["k020"], 1001, "Broken")
            assert letter.stream_id == "bad"
            assert letter.error.startswith("ValueError: this event cannot be taken (at support/")
            assert "in broken" in (letter.trace or "")
            assert letter.run_id == result.run_id
            rows = await assert_held_oracle(database, broken)
            assert (len(rows), rows["k020"]["count"], rows["k021"]["count"]) == (1000, 1, 2)
            # Again, in place: it is the same letter, set aside anew.
            result = await run(client, database, "Backfill", "counters")
            assert result.dead_letters == 1
            assert await held(database) == {("k020",): 1001}
            # Further events of the key are passed over, those of others are not.
            await write(
                database.engine, [("s", "Added", {"key": f"k{n:03}", "n": 1}) for n in (20, 21)]
            )
            await run(client, database, "Backfill", "counters", criteria="incremental_update")
            rows = await assert_held_oracle(database, broken)
            assert (rows["k020"]["count"], rows["k021"]["count"]) == (1, 3)
            # What still cannot be taken stays as it is.
            assert (await manager.retry_dead_letters("counters")).dead_letters == 1
            await assert_held_oracle(database, broken)
        repaired = mended(batch_size=200)
        async with working(client, database, registry_of(repaired)):
            result = await manager.result(await manager.start_retry("counters", requested_by="me"))
            assert (result.status, result.dead_letters) == ("completed", 0)
    assert await letters(database) == []
    rows = await assert_oracle(database.engine, repaired)
    assert rows["k020"]["count"] == 3
    assert await leftovers(database.engine) == []


async def test_large_keys_are_held_over_batches_and_segments(
    client: Client, database: Database
) -> None:
    projection = aside(batch_size=7, partitions=2)
    new = [*some(3, 20), ("bad", "Broken", {"key": "k001"}), *some(3, 30, start_at=900)]
    await write(database.engine, new)
    async with working(client, database, registry_of(projection)):
        for kind in ("Rebuild", "Backfill", "Backfill"):
            result = await run(client, database, kind, "counters")
            assert (result.events_processed, result.dead_letters) == (151, 1)
            rows = await assert_held_oracle(database, projection)
            assert [rows[f"k00{n}"]["count"] for n in range(3)] == [50, 20, 50]
            assert await held(database) == {("k001",): 61}


async def test_one_more_than_the_limit_fails_the_run(client: Client, database: Database) -> None:
    bad = [("bad", "Broken", {"key": f"k{n:03}"}) for n in (3, 13, 23, 33)]
    two = "2 dead letters are set aside already, max_dead_letters is 2"
    await write(database.engine, [*some(), *bad[:3]])
    async with working(client, database, registry_of(aside(most=2))):
        for kind in ("Rebuild", "Backfill", "Backfill"):
            handle = await start(client, database, kind, {"projection": "counters"})
            cause = await failed(handle)
            assert cause.type == "PoisonEvent"
            assert two in cause.message
            assert await letters(database) == []
        result = await run(client, database, "Rebuild", "counters", max_dead_letters=3)
        assert result.dead_letters == 3
        # They are replaced, not added: a lower limit does not stand in the way.
        assert (await run(client, database, "Backfill", "counters")).dead_letters == 3
        # Nor does the policy of failing, for events that nobody reads again.
        await write(database.engine, some(start_at=700))
        fields = {"criteria": "incremental_update", "on_poison": "fail"}
        await run(client, database, "Backfill", "counters", **fields)
        # One more is one too many, wherever it is met.
        before = await assert_held_oracle(database, aside())
        await write(database.engine, bad[3:])
        for criteria in ("incremental_update", "full_rebuild"):
            wanted = {"projection": "counters", "criteria": criteria, "max_dead_letters": 3}
            handle = await start(client, database, "Backfill", wanted)
            cause = await failed(handle)
            assert "event 404" in cause.message
            assert "3 dead letters are set aside already" in cause.message
            assert await rows_of(database.engine, aside()) == before
        assert len(await held(database)) == 3
    assert await leftovers(database.engine) == []


async def test_events_whose_key_does_not_fit_are_set_aside_without_a_key(
    client: Client, database: Database
) -> None:
    projection = Projection(
        "counters",
        table=Table(
            "counters",
            MetaData(),
            Column("key", Integer, primary_key=True),
            Column("name", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            Column("sum", Numeric(12, 2), nullable=False),
            Column("last", Integer),
        ),
        key=("data.key", "data.name"),
        backfill=BackfillPolicy(partitions=2, on_poison=OnPoison.SET_ASIDE, max_dead_letters=4),
    )
    for event_type, handler in counters().handlers.items():
        projection.on(event_type)(handler)

    def event(key: Any, name: Any, kind: str = "Added") -> tuple[str, str, dict[str, Any]]:
        return ("s", kind, {"key": key, "name": name, "n": 1})

    good = [event(key, name) for key in (-1, 2, 10) for name in ("a", "b")]
    bad = [event("x", "a"), event(1, ["a"]), event(10, "b", "Broken")]
    await write(database.engine, [*good, *bad, *good])
    async with working(client, database, registry_of(projection)):
        for kind in ("Rebuild", "Backfill", "Backfill"):
            result = await run(client, database, kind, "counters")
            assert (result.dead_letters, result.events_processed) == (3, 13)
            rows = await assert_held_oracle(database, projection)
            assert (len(rows), rows[2, "a"]["count"], rows[10, "b"]["count"]) == (6, 2, 1)
        await write(database.engine, [event(None, "a"), event(2.5, "c")])
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        assert len(await letters(database)) == 4
        await write(database.engine, [event(2, {})])
        for kind, criteria in (("Backfill", "incremental_update"), ("Rebuild", "full_rebuild")):
            fields = {"projection": "counters", "criteria": criteria}
            cause = await failed(await start(client, database, kind, fields))
            assert cause.type == "PoisonEvent"
            assert "4 dead letters are set aside already" in cause.message
        await assert_held_oracle(database, projection)
    assert await leftovers(database.engine) == []


async def test_keys_of_a_function_are_held_too(client: Client, database: Database) -> None:
    halves = siblings()[1]
    halves.policies.set_own(backfill=BackfillPolicy(batch_size=30, on_poison=OnPoison.SET_ASIDE))
    registry = registry_of(halves)
    await write(database.engine, [*some(10, 3), ("b", "Broken", {"key": "k4"}), ("b", "Added", {})])
    await write(database.engine, some(10, 3, start_at=50))
    async with working(client, database, registry):
        result = await run(client, database, "Rebuild", "halves")
        assert result.dead_letters == 3
        rows = await assert_held_oracle(database, halves)
        assert (rows["even"]["count"], rows["odd"]["count"]) == (15, 30)
        assert await held(database, "halves") == {("k4",): 31, ("even",): 31, None: 32}
        fields = {"criteria": "dead_letters", "skip_events": [31, 32]}
        result = await run(client, database, "Backfill", "halves", **fields)
        assert result.dead_letters == 0
        rows = await rows_of(database.engine, halves)
        assert (rows["even"]["count"], rows["odd"]["count"]) == (30, 30)
    assert await leftovers(database.engine) == []


async def test_copies_take_letters_along_and_lose_them_when_they_are_dropped(
    client: Client, database: Database
) -> None:
    await write(database.engine, [*some(), BAD])
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    ids = [f"{kind}/counters" for kind in ("snapshot", "rollback")]
    counted = text("SELECT generation, count(*) FROM refold.dead_letters GROUP BY 1 ORDER BY 1")

    async def by_generation() -> list[tuple[int, int]]:
        async with database.engine.connect() as connection:
            return [(row[0], row[1]) for row in await connection.execute(counted)]

    async with ended_after(client, *ids), working(client, database, registry_of(aside())):
        await run(client, database, "Backfill", "counters")
        await manager.create_snapshot("counters")
        await run(client, database, "Backfill", "counters", create_backup=True)
        assert await by_generation() == [(1, 1), (2, 1), (3, 1)]
        await write(database.engine, some(start_at=30))
        for generation in (3, 2):
            await run(client, database, "Rollback", "counters", to_generation=generation)
            rows = await assert_held_oracle(database, aside())
            assert (rows["k020"]["count"], rows["k021"]["count"]) == (5, 10)
            assert await held(database) == {("k020",): 201}
        await manager.drop_snapshot("counters", 2)
        # Retention has dropped all but one of those that were replaced.
        kept = await by_generation()
        assert [generation for generation, _ in kept] == [3, 4]


async def test_a_retry_folds_only_the_keys_that_are_held(
    client: Client, database: Database
) -> None:
    await write(database.engine, [*some(), BAD, *some(start_at=70)])
    async with working(client, database, registry_of(aside())):
        await run(client, database, "Backfill", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = 0 WHERE key = 'k007'"))
    async with working(client, database, registry_of(mended())):
        result = await run(client, database, "Backfill", "counters", criteria="dead_letters")
        assert (result.events_processed, result.dead_letters) == (11, 0)
        rows = await rows_of(database.engine, aside())
        assert (rows["k020"]["count"], rows["k007"]["sum"]) == (10, 0)
        # With nothing left to retry nothing is done.
        result = await run(client, database, "Backfill", "counters", criteria="dead_letters")
        assert (result.status, result.events_processed) == ("completed", 0)


@pytest.mark.parametrize("is_atomic", [False, *soak(True)])
async def test_repairing_some_keys_releases_and_holds_only_these(
    client: Client, database: Database, is_atomic: bool
) -> None:
    other = ("bad", "Broken", {"key": "k030"})
    await write(database.engine, [*some(), BAD, other, MISFIT, *some(start_at=70)])
    async with working(client, database, registry_of(aside())):
        await run(client, database, "Backfill", "counters")
        assert await held(database) == {("k020",): 201, ("k030",): 202, None: 203}
    repair: dict[str, Any] = {"from_position": 195, "to_position": 201, "is_atomic": is_atomic}
    async with working(client, database, registry_of(mended())):
        result = await run(client, database, "Backfill", "counters", **repair)
        assert (result.generation, result.dead_letters) == (2 if is_atomic else 1, 2)
        assert await held(database) == {("k030",): 202, None: 203}
        rows = await rows_of(database.engine, aside())
        assert (rows["k020"]["count"], rows["k030"]["count"]) == (10, 5)
        # One that is new is set aside with its key; a predicate reads events one by one.
        await write(database.engine, [MISFIT, ("s", "Added", {"key": "k036"})])
        repair = {"predicate": 'event.type == "Added" && event.position > 190', **repair}
        repair |= {"from_position": 0, "to_position": 500}
        result = await run(client, database, "Backfill", "counters", **repair)
        assert sorted(await held(database), key=str) == [("k036",), None]
        assert result.dead_letters == 3
        await assert_held_oracle(database, mended())
    assert await leftovers(database.engine) == []
