"""Runs while writers append with transactions that overlap and commit out of order."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import orjson
import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from refold.store.schema import events
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.elsewhere import PLACES
from tests.support.runs import assert_oracle, checkpoint, leftovers, run, until, working
from tests.support.soaking import soak

WRITERS = 6
KEYS = 60
RESTS = 10
"""How much longer a writer rests than its statements took.

Runs have small batches: on a busy machine they would never catch up with writers that are as fast
as ever.
"""
LONGEST_REST = 0.3
"""Seconds, for each event."""

_APPEND = """
INSERT INTO refold.events (stream_id, version, type, data, recorded_at)
VALUES ($1, $2, $3, $4::jsonb, now())
"""


class _Undo(Exception):
    """Rolls a transaction back."""


class _Writer:
    """Appends in transactions that stay open between their events; some are rolled back."""

    def __init__(self, number: int, seed: int) -> None:
        self._number = number
        self._chance = random.Random(seed)
        self._transactions = 0
        self.committed = 0
        self.undone = 0

    async def write(self, url: str, stopped: asyncio.Event) -> None:
        connection = await asyncpg.connect(url)
        try:
            while not stopped.is_set():
                await self._transaction(connection)
        finally:
            await connection.close()

    async def _transaction(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._transactions += 1
        stream = f"w{self._number}-{self._transactions}"
        count = self._chance.randint(1, 4)
        rest = 0.0
        try:
            async with connection.transaction():
                for version in range(1, count + 1):
                    began = time.monotonic()
                    await self._append(connection, stream, version)
                    rest += min(RESTS * (time.monotonic() - began), LONGEST_REST)
                    await asyncio.sleep(self._chance.choice([0, 0, 0.002, 0.02, 0.15]))
                if self._chance.random() < 0.2:
                    raise _Undo
            self.committed += count
        except _Undo:
            self.undone += count
        await asyncio.sleep(rest)

    async def _append(
        self, connection: asyncpg.Connection[asyncpg.Record], stream: str, version: int
    ) -> None:
        data = {"key": f"k{self._chance.randrange(KEYS):03}", "n": self._chance.randrange(1000)}
        kind = "Removed" if self._chance.random() < 0.05 else "Added"
        await connection.execute(_APPEND, stream, version, kind, orjson.dumps(data).decode())


@asynccontextmanager
async def appending(database: Database, seed: int) -> AsyncIterator[list[_Writer]]:
    """Writers at work until the context ends; their open transactions are finished then."""
    writers = [_Writer(number, seed + number) for number in range(WRITERS)]
    stopped = asyncio.Event()
    tasks = [asyncio.create_task(writer.write(database.log_url, stopped)) for writer in writers]
    try:
        yield writers
    finally:
        stopped.set()
        await asyncio.gather(*tasks)


_MOVES = [
    ("Rebuild", None),
    ("Backfill", "full_rebuild"),
    ("Rebuild", None),
    ("Backfill", "incremental_update"),
    ("Backfill", "full_rebuild"),
    ("Rebuild", None),
]


@pytest.mark.parametrize("database", PLACES, indirect=True)
@pytest.mark.parametrize("runs", [2, *soak(6)])
async def test_nothing_is_missed_while_transactions_commit_out_of_order(
    client: Client, database: Database, runs: int
) -> None:
    seed = random.randrange(2**32)
    print(f"appending: seed {seed}")
    engine = database.engine
    # Small batches: runs last a while, and appends come in between their transactions.
    projection = counters(batch_size=5, partitions=3)

    async def some_are_there() -> bool:
        async with database.log.connect() as connection:
            return (await connection.scalar(select(func.count()).select_from(events)) or 0) > 200

    async with working(client, database, registry_of(projection)):
        async with appending(database, seed) as writers:
            await until(some_are_there)
            for kind, criteria in _MOVES[:runs]:
                before = 0 if kind == "Rebuild" else await checkpoint(engine, projection)
                fields = {"criteria": criteria} if criteria else {}
                result = await run(client, database, kind, "counters", **fields)
                assert result.status == "completed"
                assert result.position is not None
                assert result.position >= before
                await assert_oracle(engine, projection)
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
    async with database.log.connect() as connection:
        count, highest = (
            await connection.execute(select(func.count(), func.max(events.c.position)))
        ).one()
    print(f"appending: {count} events, highest position {highest}")
    assert count == sum(writer.committed for writer in writers)
    assert highest > count, "nothing was rolled back: no gaps were tried"
    assert await checkpoint(engine, projection) >= highest
    await assert_oracle(engine, projection)
    assert await leftovers(engine) == []
