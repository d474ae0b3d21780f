"""Two Temporals on one database: neither ends the other's runs, both say who holds what."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from sqlalchemy import text
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from refold.store import leases
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.conftest import _beside_python
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.live import until_status
from tests.support.runs import assert_oracle, leftovers, run, start, until, working
from tests.support.soaking import soak

PROJECTION = counters()


async def another_namespace(client: Client) -> Client:
    """A client of the same server's other namespace."""
    name = "another"
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=name,
                workflow_execution_retention_period=Duration(seconds=3 * 86_400),
            )
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise

    async def connected() -> bool:
        try:
            await made.get_workflow_handle("none").describe()
        except RPCError as error:
            return "workflow not found" in str(error).lower()
        return True

    made = await Client.connect(
        client.service_client.config.target_host,
        namespace=name,
        data_converter=pydantic_data_converter,
    )
    await until(connected)
    return made


@asynccontextmanager
async def another_server(_: Client) -> AsyncIterator[Client]:
    """A client of another server's namespace, of the same name as the first one's."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=shutil.which("temporal", path=_beside_python()),
        data_converter=pydantic_data_converter,
        dev_server_log_level="error",
    ) as environment:
        yield environment.client


@asynccontextmanager
async def same_server(client: Client) -> AsyncIterator[Client]:
    yield await another_namespace(client)


async def minutes_pass(database: Database, minutes: float = 2) -> None:
    """All that has shown itself did so long ago."""
    async with database.engine.begin() as connection:
        await connection.execute(
            text("UPDATE refold.leases SET renewed_at = renewed_at - CAST(:past AS interval)"),
            {"past": timedelta(minutes=minutes)},
        )


async def refused(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 30)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


@pytest.mark.parametrize("elsewhere", [same_server, *soak(another_server)])
@pytest.mark.usefixtures("counters_built")
async def test_neither_ends_the_others_runs(
    client: Client, database: Database, elsewhere: Any
) -> None:
    """Also paused ones, and whatever the second one's workers look at, for minutes."""
    registry = registry_of(PROJECTION)
    async with elsewhere(client) as other, working(client, database, registry):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        await until_status(handle, "awaiting_approval")
        await handle.signal("pause")
        await until_status(handle, "paused")
        here = Sweep(database.engine, TemporalExecutions(client))
        there = Sweep(database.engine, TemporalExecutions(other))
        for _ in range(3):
            await minutes_pass(database)
            looked = await there.run_once()
            assert looked.done == []
            (silent,) = looked.troubles
            assert f"run {handle.result_run_id}" == silent.item
            assert "namespace 'default', since" in silent.reason
            assert "silent since" in silent.reason
            # Its own workers show that it lives, whatever it waits for.
            assert await here.run_once() == await there.run_once()
        async with working(other, database, registry):
            second = await start(other, database, "Rebuild", {"projection": "counters"})
            cause = await refused(second)
        assert cause.type == "ProjectionBusy"
        assert f"{handle.id!r} (run {handle.result_run_id}) of another installation" in str(cause)
        await handle.signal("resume")
        await handle.signal("approve")
        assert (await asyncio.wait_for(handle.result(), 30)).status == "completed"
    await assert_oracle(database.engine, PROJECTION)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_what_an_operator_releases_is_ended_by_whoever_comes_next(
    client: Client, database: Database
) -> None:
    registry = registry_of(PROJECTION)
    other = await another_namespace(client)
    async with working(other, database, registry):
        handle = await start(
            other, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        await until_status(handle, "awaiting_approval")
    run_id = handle.result_run_id
    assert run_id is not None
    await minutes_pass(database)
    async with working(client, database, registry):
        cause = await refused(await start(client, database, "Rebuild", {"projection": "counters"}))
        assert f"`refold release counters --run {run_id}`" in str(cause)
        async with database.engine.begin() as connection:
            assert not await leases.give_away(
                connection, "counters", "another run", released_by="me"
            )
            assert await leases.give_away(connection, "counters", run_id, released_by="me")
        looked = await Sweep(database.engine, TemporalExecutions(client)).run_once()
        assert (looked.done, looked.troubles) == ([run_id], [])
        assert await leftovers(database.engine) == []
        assert (await run(client, database, "Rebuild", "counters")).status == "completed"
        async with database.engine.connect() as connection:
            error = await connection.scalar(
                text("SELECT error FROM refold.runs WHERE run_id = :run"), {"run": run_id}
            )
        assert error == "its projection was released by me"
    await handle.terminate()


@pytest.mark.usefixtures("counters_built")
async def test_a_run_that_temporal_ended_is_ended_by_its_own(
    client: Client, database: Database
) -> None:
    other = await another_namespace(client)
    async with working(client, database, registry_of(PROJECTION)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        await until_status(handle, "awaiting_approval")
    await handle.terminate()
    assert (await Sweep(database.engine, TemporalExecutions(other)).run_once()).done == []
    looked = await Sweep(database.engine, TemporalExecutions(client)).run_once()
    assert looked.done == [handle.result_run_id]
    assert await leftovers(database.engine) == []
