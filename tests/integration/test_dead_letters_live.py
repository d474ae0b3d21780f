"""Poison events that a follower sets aside, alone and while batches are folded."""

from __future__ import annotations

import asyncio
from threading import Thread

import pytest
from temporalio.client import Client

from refold import Event, Row
from refold.engine.folding.follower import take
from refold.manager.projections import ProjectionManager, RunFailed
from refold.requests.poison_policy import Poison
from refold.runtime.database import make_engine
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import (
    BAD,
    MISFIT,
    aside,
    assert_held_oracle,
    fold_setting_aside,
    held,
    letters,
    mended,
)
from tests.support.live import ended_after, live, until_position, until_status
from tests.support.runs import events_upto, queue, rows_of, run, working, write


@pytest.mark.usefixtures("counters_built")
async def test_a_live_projection_goes_on_and_is_healed(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.activities.live._YIELD_SECONDS", 0.1)
    broken, repaired = aside(), mended()
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with ended_after(client, "backfill/counters"), live(client, database) as handle:
        async with working(client, database, registry_of(broken)):
            await until_status(handle, "live")
            other = ("bad", "Broken", {"key": "k030"})
            await write(database.engine, [BAD, other, MISFIT, ("s", "Removed", {"key": "k021"})])
            await write(database.engine, some(start_at=50))
            await until_position(database, 404)
            assert await held(database) == {("k020",): 201, ("k030",): 202, None: 203}
            assert {one.run_id for one in await letters(database)} == {None}
            await assert_held_oracle(database, broken)
            with pytest.raises(RunFailed, match=r"dead letters of 'counters' \(201, 202, 203\)"):
                await manager.skip_dead_letters("counters", [7, 202])
            result = await manager.skip_dead_letters("counters", [202, 203])
            assert result.dead_letters == 1
            assert await held(database) == {("k020",): 201}
            rows = await rows_of(database.engine, broken)
            assert (rows["k020"]["count"], rows["k030"]["count"]) == (5, 10)
        async with working(client, database, registry_of(repaired)):
            assert (await manager.retry_dead_letters("counters")).dead_letters == 0
            await write(database.engine, some(start_at=90))
            await until_position(database, 604)
            # Every fold passes over what is skipped, also the one that verifies.
            result = await run(client, database, "Rebuild", "counters", on_poison="fail")
            assert result.events_processed == 602
    rows = await rows_of(database.engine, repaired)
    assert (rows["k020"]["count"], rows["k021"]["count"], rows["k030"]["count"]) == (15, 10, 15)
    assert rows == fold_setting_aside(repaired, await events_upto(database.engine, repaired))
    assert await letters(database) == []


@pytest.mark.usefixtures("counters_built")
async def test_what_was_followed_while_a_batch_was_folded_is_held_by_it(
    client: Client, database: Database
) -> None:
    projection = aside(partitions=1, batch_size=1000)
    added, met = projection.handlers["Added"], 0

    def meanwhile() -> None:
        """Follows as a live projection would; a handler that is not pure, for once."""

        async def follow() -> None:
            engine = make_engine(database.settings)
            new = [BAD, *some(start_at=30), MISFIT, ("s", "Added", {"key": "k020", "n": 8})]
            await write(engine, new)
            async with engine.begin() as connection:
                poison = projection.backfill.poison(Poison())
                follower = await take(connection, projection, 1, 1000, poison)
                assert await follower.apply_batch(connection, 403) == 203
            await engine.dispose()

        thread = Thread(target=lambda: asyncio.run(follow()))
        thread.start()
        thread.join()

    def sneaky(row: Row | None, event: Event) -> Row | None:
        nonlocal met
        met += 1
        if met == 100:
            meanwhile()
        return added(row, event)

    async with working(client, database, registry_of(projection)):
        projection.handlers["Added"] = sneaky
        result = await run(client, database, "Backfill", "counters")
        assert result.dead_letters == 2
        found = {one.position: one.run_id for one in await letters(database)}
        assert found == {201: result.run_id, 402: None}
        projection.handlers["Added"] = added
        rows = await assert_held_oracle(database, projection)
    assert (rows["k020"]["count"], rows["k021"]["count"]) == (5, 10)


@pytest.mark.soak
async def test_repairs_and_following_at_the_same_time_hold_the_same_keys(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.activities.live._YIELD_SECONDS", 0.1)
    projection = aside(10_000, batch_size=10, partitions=2)
    await write(database.engine, some(60))
    appended = 300
    done = asyncio.Event()

    async def appending() -> None:
        nonlocal appended
        while not done.is_set():
            key = f"k{appended % 60:03}"
            poison = [("bad", "Broken", {"key": key})] if appended < 700 else [MISFIT]
            await write(database.engine, [*some(60, 1, start_at=appended)[:19], *poison])
            appended += 20
            await asyncio.sleep(0.04)

    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database):
            writer = asyncio.create_task(appending())
            for kind in ("Backfill", "Rebuild"):
                await run(client, database, kind, "counters")
            done.set()
            await writer
            await until_position(database, appended)
    await assert_held_oracle(database, projection)
    found = await letters(database)
    assert len({tuple(one.key) for one in found if one.key}) == sum(bool(one.key) for one in found)
    assert len({one.position for one in found}) == len(found) > 3
