"""A batch's own transaction never outlives it: not by an error, not by a cancellation anywhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from refold.runtime.database import own_transaction
from tests.support.databases import Database

# Turns of the event loop after which the work is cancelled: from before BEGIN to after COMMIT.
_TURNS = range(40)


async def _write(engine: AsyncEngine) -> None:
    async with engine.connect() as connection, own_transaction(connection) as driver:
        await driver.execute("INSERT INTO public.written VALUES (1)")


async def _fail(connection: AsyncConnection) -> None:
    async with own_transaction(connection) as driver:
        await driver.execute("INSERT INTO public.written VALUES (1)")
        await driver.execute("INSERT INTO public.written (no_such) VALUES (1)")


async def _written(engine: AsyncEngine) -> int:
    async with engine.begin() as connection:
        return await connection.scalar(text("SELECT count(*) FROM public.written")) or 0


async def test_who_comes_next_gets_no_open_transaction(database: Database) -> None:
    # One connection: the next task gets the same one, if it is given back at all.
    engine = create_async_engine(database.engine.url, pool_size=1, max_overflow=0)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE public.written (n int)"))
        for turns in _TURNS:
            work = asyncio.create_task(_write(engine))
            for _ in range(turns):
                await asyncio.sleep(0)
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            before = await _written(engine)
            await _write(engine)
            # Seen from another connection: it was committed, not only released to an outer one.
            assert await _written(database.engine) == before + 1
    finally:
        await engine.dispose()


async def test_an_error_rolls_back_and_keeps_the_connection(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE public.written (n int)"))
    async with database.engine.connect() as connection:
        with pytest.raises(asyncpg.UndefinedColumnError):
            await _fail(connection)
        async with own_transaction(connection) as driver:
            assert await driver.fetchval("SELECT count(*) FROM public.written") == 0
