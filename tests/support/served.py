"""The page of `refold web`, served in the test's own process, and what it streams."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from temporalio.client import Client

from refold.cli.web.access import Access
from refold.cli.web.app import make_app
from refold.cli.web.board import Board
from refold.cli.web.places import Places
from refold.runtime.settings import Settings
from tests.support.databases import Database
from tests.support.ports import free_port
from tests.support.runs import queue, until

TOKEN = "a-token-of-this-test"
PROJECTIONS = "tests.support.hostile"


@dataclass(frozen=True)
class Served:
    """A server, and a client that has its token if there is one."""

    http: httpx.AsyncClient

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"{self.http.base_url}"

    async def get(self, path: str, **options: Any) -> Any:
        """What is answered with status 200."""
        response = await self.http.get(path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """Presses a button."""
        return await self.http.post(path, json=body or {}, **options)

    async def boards(self) -> AsyncGenerator[dict[str, Any], None]:
        """What is streamed, until the server ends it."""
        async with self.http.stream("GET", "/api/stream") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            async for line in response.aiter_lines():
                name = line.removeprefix("event: ") if line.startswith("event: ") else name
                if line.startswith("data: ") and name == "board":
                    yield json.loads(line.removeprefix("data: "))

    async def row(self, when: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The row of ``guests``, as soon as it is so."""
        async with asyncio.timeout(60), aclosing(self.boards()) as boards:
            async for board in boards:
                (row,) = board["projections"]
                if when(row):
                    return dict(row)
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def served(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    *,
    control: bool,
    temporal: str | None = None,
) -> AsyncIterator[Served]:
    """A server on the test's own database and Temporal, or on another address of Temporal."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)
    address = client.service_client.config.target_host if temporal is None else temporal
    monkeypatch.setenv("TEMPORAL_ADDRESS", address)
    settings = Settings(
        database_url=database.url, projections=[PROJECTIONS], task_queue=queue(database)
    )
    places = Places(settings)
    board = Board(places, control=control)
    token = TOKEN if control else None
    port = free_port()
    config = uvicorn.Config(
        make_app(places, board, Access(token, control)),
        port=port,
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    tasks = [asyncio.create_task(server.serve()), asyncio.create_task(board.keep())]

    async def answers() -> bool:
        return server.started or tasks[0].done()

    await until(answers)
    headers = {"Authorization": f"Bearer {TOKEN}"} if control else {}
    base = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=base, timeout=60, headers=headers) as http:
            yield Served(http)
    finally:
        await board.close()
        server.should_exit = True
        await tasks[0]
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        await places.close()
