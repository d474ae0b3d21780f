"""A worker that starts while its sessions are being ended, as in a failover, waits and goes on."""

from __future__ import annotations

import asyncio
import random

import asyncpg
import pytest

from refold.worker import readiness
from tests.support.databases import Database
from tests.support.soaking import soak

_END_ALL = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def _end_all(url: str, chance: random.Random, ended: list[int]) -> None:
    connection = await asyncpg.connect(url)
    try:
        while True:
            ended[0] += await connection.fetchval(_END_ALL)
            await asyncio.sleep(chance.uniform(0, 0.05))
    finally:
        await connection.close()


@pytest.mark.parametrize("seconds", [5, *soak(60)])
async def test_it_gets_ready_however_often_its_sessions_are_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setattr(readiness, "_LONGEST_PAUSE_SECONDS", 0.01)
    seed = random.randrange(2**32)
    print(f"readiness: seed {seed}")
    ended = [0]
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    killer = asyncio.create_task(_end_all(database.url, random.Random(seed), ended))
    try:
        while clock() < end:
            # Of the engine's pool, some connections are old by then, and some are new.
            await asyncio.wait_for(readiness.wait_until_ready(database.engine), 60)
    finally:
        killer.cancel()
        await asyncio.wait([killer])
    await readiness.wait_until_ready(database.engine)
    assert ended[0] > 10
