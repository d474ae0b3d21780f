"""A connection that is given up while it is opened leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import asyncpg
import pytest

import refold.runtime.driver  # noqa: F401  (what is tested)


async def test_opening_can_be_cancelled_at_any_moment() -> None:
    """A server that takes connections and does not answer; cancelled after 1, 2, … turns."""
    said: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    await asyncio.gather(*(_cancelled_after(turns) for turns in range(1, 40)))
    gc.collect()
    assert said == []


async def _cancelled_after(turns: int) -> None:
    clients: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: clients.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = f"postgresql://somebody@127.0.0.1:{port}/none"
    opening = asyncio.ensure_future(asyncpg.connect(address, timeout=10))
    for _ in range(turns):
        await asyncio.sleep(0)
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
    await asyncio.sleep(0.05)
    for client in clients:
        client.close()
    server.close()
    await asyncio.sleep(0.35)
