"""A restart of everything, worker, Temporal and PostgreSQL: nothing that waits is forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from refold.cli.stack import migrate_url
from refold.manager.projections import ProjectionManager
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.stack.stack import Stack
from tests.support.counting import counted_events, counting
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, leftovers, until, write

KEYS = 50


def make_stack(directory: Path) -> Stack:
    return Stack(directory, workers=1, migrate=migrate_url, port_base=free_port())


async def connected(stack: Stack) -> Client:
    return await Client.connect(stack.temporal_address, data_converter=pydantic_data_converter)


async def until_status(manager: ProjectionManager, status: str) -> None:
    async def is_so() -> bool:
        return bool(await manager.get_status("counting") == status)

    await until(is_so)


async def awaiting(handle: WorkflowHandle[Any, Any]) -> None:
    async def asked() -> bool:
        return bool(await handle.query("status") == "awaiting_approval")

    await until(asked)


@pytest.mark.soak
async def test_a_restart_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.counting")
    stack = make_stack(tmp_path / "stack")
    await asyncio.to_thread(stack.start)
    try:
        client = await connected(stack)
        engine = make_engine(Settings(database_url=stack.database_url))
        await write(engine, counted_events(KEYS))
        manager = ProjectionManager(client, stack.database_url)
        await manager.rebuild("counting")
        await manager.start("counting")
        await until_status(manager, "live")
        await manager.stop("counting")
        await until_status(manager, "stopped")
        stopped_at = await manager.get_current_checkpoint("counting")
        handle = await client.start_workflow(
            "Rebuild",
            {"projection": "counting", "approval": "manual"},
            id="rebuild/counting",
            task_queue="refold",
        )
        await awaiting(handle)
        await engine.dispose()
    finally:
        await asyncio.to_thread(stack.stop)
    stack = make_stack(tmp_path / "stack")
    await asyncio.to_thread(stack.start)
    try:
        client = await connected(stack)
        manager = ProjectionManager(client, stack.database_url)
        engine = make_engine(Settings(database_url=stack.database_url))
        await awaiting(client.get_workflow_handle("rebuild/counting"))
        await until_status(manager, "stopped")
        await write(engine, counted_events(KEYS))
        assert await manager.get_current_checkpoint("counting") == stopped_at
        diff = await manager.get_diff("counting")
        assert diff is not None
        assert diff.is_same
        run = await manager.approve("counting")
        result = await asyncio.wait_for(manager.result(run), 120)
        assert (result.status, result.generation) == ("completed", 2)
        assert len(await assert_oracle(engine, counting)) == KEYS
        assert await leftovers(engine) == []
        # The live projection goes on at its checkpoint, which the swap has moved.
        await write(engine, counted_events(KEYS))
        await manager.start("counting")
        await until_status(manager, "live")
        health = await manager.get_health("counting")
        assert (health.is_healthy, health.standing.lag_events) == (True, 0)
        await assert_oracle(engine, counting)
        told = [event.type for event in await manager.get_system_events("counting")]
        assert told.count("ProjectionStarted") == 2
        assert told.count("ProjectionStopped") == 1
        await engine.dispose()
    finally:
        await asyncio.to_thread(stack.stop)
