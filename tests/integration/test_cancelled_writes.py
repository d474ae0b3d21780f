"""Many rows on their way to PostgreSQL: a task that is cancelled ends, and so does the writing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.runtime.database import raw
from refold.store.tables.rows import RowStore
from tests.support.databases import Database
from tests.support.runs import until

_TABLE = Table(
    "written",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("n", Integer, nullable=False),
    Column("label", Text),
    schema="public",
)
_STORE = RowStore(_TABLE)
_ROWS = [{"id": f"k{n:04}", "n": n, "label": "x" * 15_000} for n in range(1000)]
_DELAYS = [0.05 * n for n in range(1, 6)]
_HELD = {"id": "k0500", "n": 0, "label": None}


async def _load(connection: AsyncConnection) -> None:
    await _STORE.load(await raw(connection), _ROWS)


async def _insert(connection: AsyncConnection) -> None:
    await _STORE.insert(connection, _ROWS)


async def _upsert(connection: AsyncConnection) -> None:
    await _STORE.upsert(connection, _ROWS)


async def _cancelled(work: asyncio.Task[None]) -> None:
    work.cancel()
    done, _ = await asyncio.wait({work}, timeout=8)
    assert done, "it goes on"
    assert work.cancelled(), work.exception()


@pytest.mark.parametrize("write", [_load, _insert, _upsert])
async def test_it_ends_wherever_it_is_cancelled(
    database: Database, write: Callable[[AsyncConnection], Awaitable[None]]
) -> None:
    async def again_and_again() -> None:
        while True:
            async with database.engine.begin() as connection:
                # The driver's transaction begins; what it loads would be committed at once.
                await connection.execute(text("SELECT"))
                await write(connection)
                await connection.execute(text("TRUNCATE public.written"))

    async with database.engine.begin() as connection:
        await connection.run_sync(_TABLE.create)
    for delay in _DELAYS:
        work = asyncio.create_task(again_and_again())
        await asyncio.wait({work}, timeout=delay)
        await _cancelled(work)
    async with database.engine.begin() as connection:
        await write(connection)
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM public.written")) == len(_ROWS)


@pytest.mark.parametrize("rows", [_ROWS, _ROWS[498:502]], ids=["many", "few"])
async def test_it_ends_while_a_row_is_held(
    database: Database, rows: list[dict[str, object]]
) -> None:
    async def write() -> None:
        async with database.engine.begin() as connection:
            await _STORE.upsert(connection, rows)

    async with database.engine.begin() as connection:
        await connection.run_sync(_TABLE.create)
    async with database.engine.begin() as holder:
        await _STORE.insert(holder, [_HELD])
        work = asyncio.create_task(write())
        async with database.engine.connect() as looker:

            async def waits() -> bool:
                waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
                return bool(await looker.scalar(waiting))

            await until(waits)
        await _cancelled(work)
    async with database.engine.begin() as connection:
        await _STORE.upsert(connection, rows)
