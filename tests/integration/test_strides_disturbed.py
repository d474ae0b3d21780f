"""Strides and whoever comes in between: kills, other attempts, runs, other projections."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from temporalio.client import Client

from refold import BackfillPolicy, Checkpoints, Snapshots
from refold.engine.strides import ahead, stride
from refold.engine.strides.folding import StrideFold
from refold.errors import Fenced
from refold.store import generations
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.letters import assert_held_oracle
from tests.support.live import live, until_position, until_status
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    last,
    leftovers,
    run,
    until,
    working,
    write,
)
from tests.support.soaking import soak
from tests.support.strides import (
    Taken,
    again,
    built,
    easy,
    followed,
    following,
    log_of,
    small,
    taken,
)

__all__ = ["small", "taken"]

pytestmark = pytest.mark.usefixtures("small")


# -- whoever comes in between ----------------------------------------------------------------


@pytest.mark.parametrize("kills", [12, *soak(300)])
async def test_it_is_killed_anywhere(database: Database, taken: Taken, kills: int) -> None:
    """Cancelled at random moments; what is there is always the fold up to the checkpoint."""
    seed = random.randrange(10**6) if kills > 12 else 11
    print("seed", seed)
    chance = random.Random(seed)
    projection, *_ = easy()
    await built(database, projection)
    await write(database.engine, log_of(chance, 600))
    positions = set()
    for _ in range(kills):
        following_now = asyncio.create_task(followed(database, projection, 600))
        await asyncio.wait([following_now], timeout=chance.random() * 0.25)
        following_now.cancel()
        await asyncio.wait([following_now])
        positions.add(position := await checkpoint(database.engine, projection))
        await assert_held_oracle(database, projection)
        if position == 600:
            await again(database, projection)
    await followed(database, projection, 600)
    await assert_held_oracle(database, projection)
    assert not ahead._at_work
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    print(sorted(positions), taken)


@pytest.mark.parametrize("where", ["keyed", "fold", "know"])
async def test_what_is_unknown_undoes_the_stride(
    database: Database, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    projection = counters()
    await built(database, projection)
    await write(database.engine, log_of(random.Random(8), 300, poison=0))
    real, calls = getattr(StrideFold, where), 0

    def failing(self: StrideFold, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise OSError("no such luck")
        return real(self, *args)

    monkeypatch.setattr(StrideFold, where, failing)
    with pytest.raises(OSError, match="no such luck"):
        await followed(database, projection, 300)
    assert await checkpoint(database.engine, projection) == 0
    await followed(database, projection, 300)
    await assert_oracle(database.engine, projection)


async def test_who_has_lost_the_checkpoint_writes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stride, "_MOST_KEYS", 1)
    projection = counters()
    await built(database, projection)
    await write(database.engine, log_of(random.Random(9), 300, poison=0))
    async with following(database, projection) as (follower, connection):
        await follower.commit_batch(connection, 300)
        async with database.engine.begin() as other:
            await generations.take_fence(other, "counters", 1)
        reached = follower.position
        assert 0 < reached < 300
        with pytest.raises(Fenced):
            await follower.commit_batch(connection, 300)
    assert await checkpoint(database.engine, projection) == reached
    await assert_oracle(database.engine, projection)


async def test_a_lower_end_is_kept_to(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read ahead beyond it is not applied."""
    monkeypatch.setattr(stride, "_MOST_KEYS", 1)
    projection = counters()
    await built(database, projection)
    await write(database.engine, log_of(random.Random(10), 300, poison=0))
    async with following(database, projection) as (follower, connection):
        await follower.commit_batch(connection, 300)
        ends = [130, 131, 300]
        for end in ends:
            while follower.position < end:
                await follower.commit_batch(connection, end)
            assert follower.position == end
            await assert_oracle(database.engine, projection)


async def test_a_lock_is_not_held_for_events_that_do_not_come(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stride, "PIECE_SECONDS", 0.3)
    goes_on, real = asyncio.Event(), ahead.Ahead._put

    async def put(self: ahead.Ahead, portion: ahead.Portion) -> None:
        await real(self, portion)
        if portion.upto > 100:
            await goes_on.wait()

    monkeypatch.setattr(ahead.Ahead, "_put", put)
    projection = counters()
    await built(database, projection)
    await write(database.engine, log_of(random.Random(15), 300, poison=0))
    async with following(database, projection) as (follower, connection):
        async with asyncio.timeout(10):
            await follower.commit_batch(connection, 300)
        assert 100 < follower.position < 200
        await assert_oracle(database.engine, projection)
        goes_on.set()
        while follower.position < 300:
            await follower.commit_batch(connection, 300)
    await assert_oracle(database.engine, projection)


async def test_few_read_ahead_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch, taken: Taken
) -> None:
    """Each takes a connection that no activity counts on; others go on by batches."""
    monkeypatch.setattr(ahead, "READERS_AHEAD", 1)
    monkeypatch.setattr(stride, "_MOST_KEYS", 1)
    monkeypatch.setattr(ahead, "_READY_BYTES", 0)
    one, other, _ = easy()
    for projection in (one, other):
        await built(database, projection)
    await write(database.engine, log_of(random.Random(11), 400, poison=0))
    async with (
        following(database, one) as (first, connection),
        following(database, other) as (second, other_connection),
    ):
        await first.commit_batch(connection, 400)
        assert taken.well == 1
        await second.commit_batch(other_connection, 400)
        assert (taken.well, taken.left) == (1, 1)
        assert second.position >= 100
    assert not ahead._at_work


@pytest.mark.parametrize(
    "settings",
    [
        {"backfill": BackfillPolicy(batch_size=100)},
        {"checkpoints": Checkpoints(every_n_events=100)},
        {"snapshots": Snapshots.automatic(every_n_events=100)},
        {"snapshots": Snapshots.manual(trigger_on="Marked")},
    ],
    ids=lambda one: next(iter(one)),
)
async def test_where_each_batch_has_an_end_of_its_own(
    database: Database, settings: dict[str, Any]
) -> None:
    projection = counters()
    projection.policies.set_own(**settings)
    await built(database, projection)
    async with following(database, projection) as (follower, _):
        assert follower.strides is None


# -- a live projection that was away ---------------------------------------------------------


@pytest.mark.parametrize("rounds", [1, *soak(10)])
async def test_it_catches_up_while_runs_repair_and_replace_the_table(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    taken: Taken,
    rounds: int,
) -> None:
    monkeypatch.setattr(stride, "_MOST_KEYS", 10)
    monkeypatch.setattr("refold.activities.live._YIELD_SECONDS", 0.1)
    chance = random.Random(12)
    projection, *_ = easy()
    await write(database.engine, log_of(chance, 200))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with live(client, database) as handle:
            for number in range(rounds):
                await handle.signal("stop")
                await until_status(handle, "stopped")
                await write(database.engine, log_of(chance, 800))
                head = await last(database)
                await handle.signal("start")
                kind = ("Backfill", "Rebuild", "Rollback")[number % 3]
                await run(client, database, kind, "counters")
                await until_position(database, head)
                await assert_held_oracle(database, projection)
            await until_status(handle, "live")
    assert taken.well
    assert await leftovers(database.engine) == []
    await until(nobody_reads)


async def nobody_reads() -> bool:
    return not ahead._at_work


async def test_what_could_not_be_read_is_read_again(database: Database, taken: Taken) -> None:
    projection = counters()
    await built(database, projection)
    await write(database.engine, log_of(random.Random(5), 200, poison=0))
    away = "ALTER TABLE refold.events RENAME TO events_away"
    back = "ALTER TABLE refold.events_away RENAME TO events"
    head = await last(database)
    async with following(database, projection) as (follower, connection):
        for statement in (away, back):
            async with database.engine.begin() as other:
                await other.execute(text(statement))
            if statement == away:
                with pytest.raises((DBAPIError, asyncpg.PostgresError)):
                    await follower.commit_batch(connection, head)
        async with asyncio.timeout(20):
            while follower.position < head:
                await follower.commit_batch(connection, head)
    assert taken.well > 0
    await assert_oracle(database.engine, projection)
