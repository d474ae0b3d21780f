"""A session that is ended as a COPY begins leaves nothing for the event loop to complain of."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from refold.runtime.database import LOST
from refold.runtime.driver import DriverConnection
from tests.support.databases import Database
from tests.support.soaking import soak

_LOST: tuple[type[Exception], ...] = (*LOST, asyncpg.PostgresError)


async def _lines() -> AsyncIterator[bytes]:
    yield b"1\n"


async def _copy_on(connection: DriverConnection, form: str) -> None:
    while True:
        await asyncio.sleep(0)
        if form == "text":
            await connection.copy_to_table("copied", source=_lines(), format="text")
        else:
            await connection.copy_records_to_table("copied", records=[(1,)])


# Unless it is taken care of, one of eight leaves something.
@pytest.mark.parametrize(
    ("form", "times"), [("text", 40), ("records", 40), *soak(("text", 400), ("records", 400))]
)
async def test_a_copy_that_cannot_begin(database: Database, form: str, times: int) -> None:
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    other = await asyncpg.connect(database.url)
    await other.execute("CREATE TABLE copied (n int)")
    for _ in range(times):
        connection = await asyncpg.connect(database.url, connection_class=DriverConnection)
        await connection.copy_records_to_table("copied", records=[(1,)])
        end = f"SELECT pg_terminate_backend({connection.get_server_pid()})"
        ending = asyncio.create_task(other.execute(end))
        with pytest.raises(_LOST):
            await _copy_on(connection, form)
        await ending
        connection.terminate()
        await asyncio.sleep(0.01)
    await other.close()
    del connection
    await asyncio.sleep(0.05)
    gc.collect()
    assert said == []
