"""Checkpoints apart from their rows: killed between the rows' commit and the checkpoint's write."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

import pytest
from temporalio.client import Client

from refold.projection.registry import Registry
from refold.runtime.settings import Settings
from refold.store import generations
from refold.store.checkpoints.record import Record
from refold.store.checkpoints.stores import CheckpointStores
from tests.support.apart import Following
from tests.support.checkpoint_stores import STORES, StoreServers, environment
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.live import live
from tests.support.processes import (
    ROOT,
    clean_environment,
    worker_environment,
    worker_processes,
)
from tests.support.runs import assert_oracle, checkpoint, last, run, until, working, write
from tests.support.soaking import soak

_KEYS = 30
# As a shell tells it, and as Python does.
_KILLED = (-9, 137)


async def record_of(database: Database, settings: Settings) -> Record | None:
    """What the store has, if the checkpoint is in one."""
    async with database.engine.connect() as connection:
        active = await generations.active(connection, "counting")
    assert active is not None
    if active.away is None:
        return None
    stores = CheckpointStores(settings)
    try:
        there = active.away
        return await stores.at(there["store"], there["place"]).read(there["name"])
    finally:
        await stores.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("store", "kills"), [("redis", 1), *soak(("sql", 1), *[(store, 20) for store in STORES])]
)
async def test_rows_are_right_though_it_is_killed_before_the_checkpoint_is_moved(  # noqa: PLR0917
    client: Client,
    database: Database,
    store_servers: StoreServers,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    store: str,
    kills: int,
) -> None:
    seed = random.randrange(2**32)
    print(f"{store}: seed {seed}")
    chance = random.Random(seed)
    for name, value in environment(store).items():
        monkeypatch.setenv(name, value)
    address = store_servers.address(store, database.url)
    settings = database.settings.model_copy(update={"checkpoints": address})
    await write(database.engine, counted_events(_KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
    variables = {
        **environment(store),
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_CHECKPOINTS": address,
        "COUNT_FILE": str(tmp_path / "folds"),
    }
    again = 0
    for _ in range(kills):
        await write(database.engine, counted_events(_KEYS))
        killed = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.support.apart", str(chance.randrange(2**32))),
            env=clean_environment(**variables),
            cwd=ROOT,
        )
        assert await killed.wait() in _KILLED
        # Rows and the end of what may have been written move together, whatever the store has.
        await assert_oracle(database.engine, counting)
        record = await record_of(database, settings)
        async with database.engine.connect() as connection:
            active = await generations.active(connection, "counting")
        assert record is not None
        assert active is not None
        assert active.position is not None
        assert record.position <= active.position <= record.next
        again += record.position < active.position
    print(f"{store}: {again} of {kills} times a batch was written and its checkpoint was not moved")
    assert again > 0 or kills < 5
    assert await Following(database.engine, counting, settings).catch_up() == await last(database)
    assert len(await assert_oracle(database.engine, counting)) == _KEYS


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", soak(8))
async def test_workers_that_are_killed_lose_and_double_nothing(
    client: Client,
    database: Database,
    store_servers: StoreServers,
    tmp_path: Path,
    kills: int,
) -> None:
    seed = random.randrange(2**32)
    print(f"workers: seed {seed}")
    chance = random.Random(seed)
    await write(database.engine, counted_events(_KEYS))
    async with working(client, database, Registry([counting])):
        await run(client, database, "Rebuild", "counting")
    variables = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        REFOLD_CHECKPOINTS=store_servers.address("redis", database.url),
        COUNT_FILE=str(tmp_path / "folds"),
    )
    async with live(client, database, projection="counting"):
        with worker_processes(variables, tmp_path) as workers:
            worker = workers.start()
            for _ in range(kills):
                before = await checkpoint(database.engine, counting)
                await write(database.engine, counted_events(_KEYS))

                async def has_moved(before: int = before) -> bool:
                    return await checkpoint(database.engine, counting) > before

                await until(has_moved, 120)
                await asyncio.sleep(chance.uniform(0, 0.2))
                worker.kill()
                await assert_oracle(database.engine, counting)
                worker = workers.start()

            async def caught_up() -> bool:
                return await checkpoint(database.engine, counting) == await last(database)

            await until(caught_up, 120)
    assert len(await assert_oracle(database.engine, counting)) == _KEYS
