"""What an operator is told when nobody works, and when somebody's code fails."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.manager.projections import ProjectionManager
from refold.store.deployments import queue_of
from refold.worker.chores.presence import Presence
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import BAD, failed
from tests.support.runs import queue, start, working, write

TOLD = "no worker of task queue"
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("status", "counters"),
    ("health", "counters"),
    ("start", "counters"),
    ("rebuild", "counters", "--detach"),
)


async def said(client: Client, database: Database, *command: str) -> str:
    settings = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_PROJECTIONS": "tests.support.mortal",
        "REFOLD_TASK_QUEUE": queue(database),
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
    }
    ended = await asyncio.to_thread(CliRunner().invoke, app, list(command), env=settings)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.stderr


async def test_nobody_works_and_every_command_says_so(client: Client, database: Database) -> None:
    place = queue_of(client.namespace, queue(database))
    presence = Presence(database.engine, registry_of(counters()), place)
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with manager:
        for command in COMMANDS[:2]:  # the others would start what nobody carries out
            assert TOLD in await said(client, database, *command), command
        assert not await manager.has_workers()
        await presence.run_once()
        assert await manager.has_workers()
        assert TOLD not in await said(client, database, "status", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(
                text("UPDATE refold.deployments SET seen_at = now() - interval '61 s'")
            )
        for command in COMMANDS[2:]:
            assert TOLD in await said(client, database, *command), command
        elsewhere = ProjectionManager(client, database.url, task_queue="another")
        async with elsewhere:
            assert not await elsewhere.has_workers()
    for kind in ("projection", "rebuild"):
        await client.get_workflow_handle(f"{kind}/counters").terminate()


async def test_the_log_shows_where_a_handler_raised_and_no_trace_of_ours(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await write(database.engine, [*some(), BAD])
    async with working(client, database, registry_of(counters())):
        await failed(await start(client, database, "Rebuild", {"projection": "counters"}))
    told = [record for record in caplog.records if "cannot take event" in record.getMessage()]
    assert len(told) == 1, caplog.text
    assert 'raise ValueError("this event cannot be taken")' in told[0].getMessage()
    assert "support/counters.py" in told[0].getMessage()
    assert "Completing activity as failed" not in caplog.text
