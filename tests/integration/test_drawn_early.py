"""Writers that draw positions first, and use them later, lose nothing under a live projection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from random import Random, randrange
from typing import Any

import asyncpg
import pytest
from sqlalchemy import BigInteger, Column, MetaData, Table, Text
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.projection.registry import Registry
from tests.support.databases import Database
from tests.support.kept_stores import AXON_POOLED, ONE_AFTER_ANOTHER, STORES
from tests.support.live import live
from tests.support.mapped import given
from tests.support.runs import checkpoint, rows_of, run, until, working
from tests.support.settling import Kept, committed, keeping, session, write
from tests.support.soaking import soak

WRITERS = 4
BLOCK = 50
"""How many positions a process of Axon's draws at once."""

places = Projection(
    "places",
    table=Table(
        "places",
        MetaData(),
        Column("id", Text(collation="C"), primary_key=True),
        Column("position", BigInteger, nullable=False),
    ),
    key="stream_id",
)


@places.on("T")
def _stands(row: Row | None, event: Event) -> Row:
    return {"position": event.position}


class _Writer:
    """Draws a position, lets others go on, and appends; sometimes it takes that back.

    Args:
        kept: What it appends to.
        connection: On which it does.
        chance: What it does when.
    """

    def __init__(self, kept: Kept, connection: asyncpg.Connection[Any], chance: Random) -> None:
        self._kept = kept
        self._connection = connection
        self._chance = chance
        self._block: list[int] = []

    async def work(self, transactions: int) -> None:
        for _ in range(transactions):
            if self._kept is AXON_POOLED and not self._block:
                # Its pools are filled in transactions of their own.
                first = await self._connection.fetchval(self._kept.draws)
                self._block = list(range(first, first + BLOCK))
            await self._connection.execute("BEGIN")
            await self._append()
            ends = "ROLLBACK" if self._chance.random() < 0.2 else "COMMIT"
            await self._connection.execute(ends)
            await self._pause()

    async def _append(self) -> None:
        if not self._kept.draws:  # whoever draws has a lock until it ends
            await write(self._connection)
            await self._pause()
            return
        if self._block:
            drawn = self._block.pop(0)
        else:
            drawn = await self._connection.fetchval(self._kept.draws)
        await self._pause()
        if self._chance.random() < 0.3 and self._kept is not AXON_POOLED:
            await write(self._connection)
        await self._connection.execute(self._kept.uses, drawn)

    async def _pause(self) -> None:
        await asyncio.sleep(self._chance.choice([0, 0.005, 0.05, 0.4]))


def _case(kept: Kept, transactions: int) -> Any:
    return pytest.param(kept, transactions, id=f"{kept.name}-{transactions}")


_ALL = [AXON_POOLED, *STORES, *ONE_AFTER_ANOTHER]


@pytest.mark.parametrize(
    ("kept", "transactions"),
    [_case(AXON_POOLED, 5), *soak(*[(kept, 40) for kept in _ALL])],
    ids=lambda value: getattr(value, "name", str(value)),
)
async def test_every_event_that_was_committed_is_in_the_read_model(
    client: Client, database: Database, kept: Kept, transactions: int
) -> None:
    seed = randrange(2**32)
    print(f"{kept.name}: seed {seed}")
    async with session(database) as connection:
        await connection.execute(given(kept.ddl))
    with keeping(kept):
        async with (
            working(client, database, Registry([places])),
            AsyncExitStack() as stack,
        ):
            writers = [
                _Writer(kept, await stack.enter_async_context(session(database)), Random(seed + n))
                for n in range(WRITERS)
            ]
            await run(client, database, "Backfill", "places")
            async with live(client, database, projection="places"):
                await asyncio.gather(*[writer.work(transactions) for writer in writers])
                there = await committed(database)
                assert len(there) > 2 * transactions

                async def is_followed() -> bool:
                    return await checkpoint(database.engine, places) >= there[-1]

                await until(is_followed)

                async def is_complete() -> bool:
                    return await _seen(database) == there

                if kept is AXON_POOLED:  # what came late is put in its place soon
                    await until(is_complete)
                assert await _seen(database) == there


async def _seen(database: Database) -> list[int]:
    rows = await rows_of(database.engine, places)
    return sorted(row["position"] for row in rows.values())
