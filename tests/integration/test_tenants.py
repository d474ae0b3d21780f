"""What is asked tenant by tenant: lag, dead letters, status; and one tenant's keys repaired."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.errors import InvalidRequest
from refold.manager import ProjectionManager
from refold.source.log import NewEvent, append
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import aside
from tests.support.runs import queue, rows_of, run, working

PATH = "metadata.tenant_id"


async def written(database: Database, tenant: str, *events: tuple[str, str]) -> None:
    """Appends events (key, type) of a tenant."""
    async with database.engine.begin() as connection:
        for key, kind in events:
            new = NewEvent(kind, {"key": key, "n": 1}, {"tenant_id": tenant})
            await append(connection, f"{tenant}-{key}", [new])


def manager_of(client: Client, database: Database, path: str | None = PATH) -> ProjectionManager:
    return ProjectionManager(client, database.url, task_queue=queue(database), tenant_path=path)


async def test_each_tenant_has_its_own_lag_and_letters(client: Client, database: Database) -> None:
    projection = aside()
    await written(database, "acme", ("a1", "Added"), ("a2", "Broken"), ("a3", "Added"))
    await written(database, "bolt", ("b1", "Added"), ("b2", "Broken"), ("b3", "Broken"))
    async with working(client, database, registry_of(projection), tenant_path=PATH):
        await run(client, database, "Rebuild", "counters")
        await _one_tenants_rows_are_repaired(client, database, is_atomic=True)
    await written(database, "acme", ("a1", "Added"))
    await written(database, "bolt", *[("b1", "Added")] * 3)
    await written(database, "bolt", ("b1", "Other"))  # of a type that nobody reads
    async with manager_of(client, database) as manager:
        lags = {}
        for tenant in (None, "acme", "bolt", "nobody"):
            health = await manager.get_health("counters", projection.event_types, tenant=tenant)
            letters = await manager.get_dead_letters("counters", tenant=tenant)
            lags[tenant] = health.standing.lag_events, len(letters)
            assert (health.standing.lag_seconds > 0) == (health.standing.lag_events > 0)
    assert lags == {None: (4, 3), "acme": (1, 1), "bolt": (3, 2), "nobody": (0, 0)}
    await _the_command_line_tells_them_apart(client, database)


async def _the_command_line_tells_them_apart(client: Client, database: Database) -> None:
    settings = {
        "REFOLD_DATABASE_URL": database.url,
        "REFOLD_PROJECTIONS": "tests.support.set_aside",
        "REFOLD_TASK_QUEUE": queue(database),
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }

    async def shown(*command: str, **more: str) -> Any:
        ended = await asyncio.to_thread(
            CliRunner().invoke, app, [*command, "--json"], env={**settings, **more}
        )
        assert ended.exit_code == 0, ended.output
        return json.loads(ended.stdout)

    for tenant, behind, letters in (("acme", 1, 1), ("bolt", 3, 2)):
        of_tenant = ("--tenant", tenant)
        (status,) = await shown("status", *of_tenant, REFOLD_TENANT_PATH=PATH)
        assert (status["events_behind"], status["dead_letters"]) == (behind, letters)
        listed = await shown(
            "dead-letters", "list", "counters", *of_tenant, REFOLD_TENANT_PATH=PATH
        )
        assert len(listed) == letters
    refused = await asyncio.to_thread(
        CliRunner().invoke, app, ["status", "--tenant", "acme"], env=settings
    )
    assert refused.exit_code == 1
    assert "set REFOLD_TENANT_PATH" in refused.output


async def test_without_a_path_nobody_knows_whose_events_are_whose(
    client: Client, database: Database
) -> None:
    async with manager_of(client, database, path=None) as manager:
        for asked in (manager.get_health, manager.get_dead_letters):
            with pytest.raises(InvalidRequest, match="REFOLD_TENANT_PATH"):
                await asked("counters", tenant="acme")


@pytest.mark.soak
async def test_one_tenants_rows_are_repaired_in_place(client: Client, database: Database) -> None:
    await written(database, "acme", ("a1", "Added"), ("a3", "Added"))
    await written(database, "bolt", ("b1", "Added"))
    async with working(client, database, registry_of(aside()), tenant_path=PATH):
        await run(client, database, "Rebuild", "counters")
        await _one_tenants_rows_are_repaired(client, database, is_atomic=False)


async def _one_tenants_rows_are_repaired(
    client: Client, database: Database, *, is_atomic: bool
) -> None:
    """Those of acme; others are left alone."""
    right = await rows_of(database.engine, aside())
    assert right.keys() == {"a1", "a3", "b1"}
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET sum = 99"))
    await run(client, database, "Backfill", "counters", tenant="acme", is_atomic=is_atomic)
    rows = await rows_of(database.engine, aside())
    assert {key: row["sum"] for key, row in rows.items()} == {
        "a1": right["a1"]["sum"],
        "a3": right["a3"]["sum"],
        "b1": 99,
    }
