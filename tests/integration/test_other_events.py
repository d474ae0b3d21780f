"""A command that reads other events than the workers do says so."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.source.port.current import using
from refold.worker.chores.presence import Presence
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.mapped import log_of
from tests.support.runs import queue, working
from tests.support.soaking import soak
from tests.support.store_shapes import EMMETT

TOLD = "the workers read events from Emmett, this command from refold.events"


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "counters", "k001"),
        *soak((("status", "counters"),), (("events", "count"),), (("health",),)),
    ],
    ids=lambda arguments: arguments[0],
)
async def test_what_reads_other_events_says_so(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    registry = registry_of(counters())
    shown = Presence(database.engine, registry, f"{client.namespace}/{queue(database)}")
    async with working(client, database, registry), log_of(EMMETT, database):
        monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
        monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.mortal")
        monkeypatch.setenv("REFOLD_TASK_QUEUE", queue(database))
        target = client.service_client.config.target_host
        monkeypatch.setenv("TEMPORAL_ADDRESS", target)

        async def typed() -> str:
            ended = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
            return " ".join(ended.output.split())

        await shown.run_once()
        assert "the workers read events" not in await typed()
        with using(EMMETT.source()):
            await shown.run_once()
        assert TOLD in await typed()
        # Of workers of older code nobody knows.
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE refold.deployments SET source = NULL"))
        assert "the workers read events" not in await typed()
