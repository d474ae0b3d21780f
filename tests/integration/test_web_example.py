"""The web example on a real server: a rebuild is started and its progress streamed to the end."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
import uvicorn
from temporalio.client import Client
from temporalio.service import RPCError

from examples.web_progress import app
from refold.manager.projections import ProjectionManager, StartedRun
from refold.messages.run.life import Progress
from tests.support.counters import registry_of
from tests.support.counting import counted_events, counting
from tests.support.databases import Database
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, queue, until, working, write

REBUILD, PROGRESS = "/projections/counting/rebuild", "/projections/counting/progress"


@pytest.fixture
async def web(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """The example, as uvicorn serves it, on the test's own servers."""
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
    monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.counting")
    monkeypatch.setenv("REFOLD_TASK_QUEUE", queue(database))
    port = free_port()
    async with (
        serving(port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as browser,
    ):
        yield browser


@asynccontextmanager
async def serving(port: int) -> AsyncIterator[None]:
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())

    async def answers() -> bool:
        return server.started or task.done()

    await until(answers)
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def streamed(web: httpx.AsyncClient) -> AsyncIterator[tuple[str, Any]]:
    """The stream's events and their data, until it ends."""
    async with web.stream("GET", PROGRESS) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        event = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield event, json.loads(line.removeprefix("data: "))


async def test_a_rebuild_is_watched_to_its_end(
    web: httpx.AsyncClient, client: Client, database: Database
) -> None:
    await write(database.engine, counted_events(100))
    nothing = await web.get(PROGRESS)
    assert nothing.status_code == 404
    assert "'counting': expected a run, found none" in nothing.json()["detail"]

    started = await web.post(REBUILD)
    assert started.status_code == 202
    assert started.json()["workflow_id"] == "rebuild/counting"
    assert started.json()["run_id"]
    # No worker is there yet: it cannot have ended.
    again = await web.post(REBUILD)
    assert again.status_code == 409
    assert started.json()["run_id"] in again.json()["detail"]

    async with working(client, database, registry_of(counting)):
        events = [event async for event in streamed(web)]
        await assert_oracle(database.engine, counting)
        # The same stream, opened after the run has ended.
        assert [event async for event in streamed(web)] == events[-2:]
    *seen, last = (Progress.model_validate(data) for event, data in events if event == "progress")
    assert (last.status, last.percent_complete) == ("completed", 100)
    assert last.events_processed == last.total_events == 2_000
    for name in ("percent_complete", "events_processed", "total_events"):
        values = [getattr(now, name) for now in [*seen, last]]
        assert values == sorted(values)
    event, data = events[-1]
    assert event == "end"
    assert (data["status"], data["run_id"]) == ("completed", started.json()["run_id"])


async def test_a_run_that_is_terminated_ends_the_stream_and_says_so(
    web: httpx.AsyncClient, client: Client, database: Database
) -> None:
    await write(database.engine, counted_events(10))
    handle = await client.start_workflow(
        "Rebuild",
        {"projection": "counting", "approval": "manual"},
        id="rebuild/counting",
        task_queue=queue(database),
    )
    events = []
    async with working(client, database, registry_of(counting)), asyncio.timeout(60):
        async for event, data in streamed(web):
            events.append((event, data))
            if data["status"] == "awaiting_approval":
                with suppress(RPCError):  # It was terminated half a second ago.
                    await handle.terminate()
    event, data = events[-1]
    assert (event, data["status"]) == ("end", "failed")
    assert "terminated" in data["error"]


async def test_a_caller_who_leaves_ends_the_stream(
    web: httpx.AsyncClient,
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, left = ProjectionManager.watch, asyncio.Event()

    async def watched(manager: ProjectionManager, run: StartedRun) -> AsyncIterator[Progress]:
        try:
            async for progress in watch(manager, run):
                yield progress
        finally:
            left.set()

    monkeypatch.setattr(ProjectionManager, "watch", watched)
    run = (await web.post(REBUILD)).json()
    async with web.stream("GET", PROGRESS) as response:
        assert response.status_code == 200
        assert not left.is_set()
    await asyncio.wait_for(left.wait(), 10)
    await client.get_workflow_handle(run["workflow_id"]).terminate()


async def test_what_is_unknown_is_named(web: httpx.AsyncClient) -> None:
    refused = await web.post("/projections/nope/rebuild")
    assert refused.status_code == 404
    assert refused.json() == {"detail": "projection: expected one of (counting), got 'nope'"}
    assert (await web.get("/projections/nope/progress")).status_code == 404


async def test_the_page_offers_the_projections(web: httpx.AsyncClient) -> None:
    page = await web.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<option>counting</option>" in page.text
    assert "new EventSource" in page.text
