"""Workers of different code on one task queue: what one lacks is left to another, and is heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import ApplicationError

from refold import Projection, ProjectionBackfillCompleted, SystemEventContext
from refold.projection.registry import Registry
from refold.store import deliveries
from refold.store.deployments import queue_of
from refold.worker.chores.presence import Presence
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import dispatching, live, recorded_types, until_position, until_status
from tests.support.runs import assert_oracle, leftovers, queue, run, start, until, working, write
from tests.support.soaking import soak
from tests.support.versions import doubled

PROJECTION = counters()
LACKING = Registry(siblings())


@asynccontextmanager
async def beside(
    client: Client, database: Database, registry: Registry, **changes: Any
) -> AsyncIterator[None]:
    """One more worker on the test's task queue; each in a process has a client of its own."""
    own = await Client.connect(
        client.service_client.config.target_host, data_converter=pydantic_data_converter
    )
    async with working(own, database, registry, **changes):
        yield


async def shown(client: Client, database: Database, registry: Registry) -> None:
    """Shows a worker's projections, as its chore does."""
    place = queue_of(client.namespace, queue(database))
    await Presence(database.engine, registry, place).run_once()


async def failure(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(handle.result(), 60)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause


async def until_left(handle: WorkflowHandle[Any, Any]) -> str:
    """Waits until a worker has given a step back; says why."""
    said: list[str] = []

    async def given_back() -> bool:
        description = await handle.describe()
        pending = description.raw_description.pending_activities
        said[:] = [
            one.last_failure.message
            for one in pending
            if one.last_failure.application_failure_info.type == "NotOnThisWorker"
        ]
        return bool(said)

    await until(given_back)
    return said[0]


@pytest.mark.parametrize("kinds", [("Rebuild",), *soak((("Rebuild", "Rollback"),))])
@pytest.mark.usefixtures("counters_built")
async def test_runs_and_a_live_projection_go_on_beside_a_worker_that_lacks_it(
    client: Client, database: Database, kinds: tuple[str, ...]
) -> None:
    async with working(client, database, registry_of(PROJECTION)):
        async with (
            beside(client, database, LACKING),
            live(client, database) as following,
        ):
            for kind in kinds:
                await run(client, database, kind, "counters")
            await write(database.engine, some(start_at=5))
            await until_position(database, 400)
            await until_status(following, "live")
            assert (await following.query("health"))["error"] is None
        assert "ProjectionFailed" not in await recorded_types(database)
    await assert_oracle(database.engine, PROJECTION)
    assert await leftovers(database.engine) == []


async def test_a_name_that_there_never_was_fails_at_once(
    client: Client, database: Database
) -> None:
    async with beside(client, database, LACKING):
        for kind in ("Rebuild", "Backfill", "Rollback", "Snapshot", "Projection"):
            handle = await start(client, database, kind, {"projection": "countesr"})
            cause = await failure(handle)
            assert cause.type == "UnknownProjection"
            assert "expected one of (halves, streams), got 'countesr'" in cause.message


@pytest.mark.parametrize("kind", ["Rebuild", *soak("Backfill", "Rollback", "Snapshot")])
@pytest.mark.usefixtures("counters_built")
async def test_a_step_that_no_worker_takes_fails_in_the_end(
    client: Client, database: Database, kind: str
) -> None:
    async with beside(client, database, LACKING, deployment_seconds=1):
        handle = await start(client, database, kind, {"projection": "counters"})
        said = await until_left(handle)
        assert "does not have projection 'counters' (it has halves, streams)" in said
        assert "is left to one that does until" in said
        cause = await failure(handle)
    assert cause.type == "NotOnAnyWorker"
    assert "no worker that has it took the step within 1 s" in cause.message
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_live_projection_is_failed_then_and_goes_on_with_a_worker_that_has_it(
    client: Client, database: Database
) -> None:
    async with live(client, database) as following:
        async with beside(client, database, LACKING, deployment_seconds=1):
            await until_status(following, "failed")
            error = (await following.query("health"))["error"]
            assert error["type"] == "NotOnAnyWorker"
            assert "no worker that has it took the step" in error["message"]
        async with working(client, database, registry_of(PROJECTION)):
            await following.signal("restart")
            await until_status(following, "live")


@pytest.mark.soak
async def test_a_new_projection_waits_for_a_worker_that_has_shown_it(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    await shown(client, database, registry_of(PROJECTION))
    async with beside(client, database, LACKING):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        assert "workers that have it: " in await until_left(handle)
        async with beside(client, database, registry_of(PROJECTION)):
            result = await asyncio.wait_for(handle.result(), 60)
    assert (result.status, result.generation) == ("completed", 1)
    await assert_oracle(database.engine, PROJECTION)


OLD, NEW = counters(), doubled()

# What is live, which worker is asked first, and which version the run is carried out with.
VERSIONS: dict[str, tuple[Projection, Projection, Projection, int]] = {
    "Rebuild": (OLD, OLD, NEW, 2),  # not back to what the old code has
    "Backfill": (NEW, OLD, NEW, 2),
    "Snapshot": (NEW, OLD, NEW, 2),
    "Rollback": (NEW, NEW, OLD, 1),
}


@pytest.mark.parametrize("kind", ["Rebuild", *soak("Backfill", "Rollback", "Snapshot")])
@pytest.mark.usefixtures("counters_built")
async def test_a_version_that_another_worker_has_is_left_to_it(
    client: Client, database: Database, kind: str
) -> None:
    built, first, second, version = VERSIONS[kind]
    if built is NEW:
        async with beside(client, database, registry_of(NEW)):
            await run(client, database, "Rebuild", "counters")
    await shown(client, database, registry_of(second))
    async with working(client, database, registry_of(first)):
        handle = await start(client, database, kind, {"projection": "counters"})
        said = await until_left(handle)
        assert f"does not have version {version} of projection 'counters'" in said
    async with working(client, database, registry_of(second)):
        await asyncio.wait_for(handle.result(), 60)
    await assert_oracle(database.engine, second)


@pytest.mark.soak
async def test_a_live_projection_of_a_version_is_left_to_a_worker_that_has_it(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    async with beside(client, database, registry_of(NEW)):
        await run(client, database, "Rebuild", "counters")
    await shown(client, database, registry_of(NEW))
    async with working(client, database, registry_of(OLD)), live(client, database) as following:
        assert "version 2" in await until_left(following)
        async with beside(client, database, registry_of(NEW)):
            await until_status(following, "live")


@pytest.mark.soak
async def test_a_handler_is_given_all_beside_a_worker_that_lacks_it(
    client: Client, database: Database
) -> None:
    projection = counters()
    seen: list[str] = []

    @projection.on_system_event(ProjectionBackfillCompleted, max_attempts=1)
    async def of_one(event: ProjectionBackfillCompleted, context: SystemEventContext) -> None:
        seen.append(context.id)

    registry = registry_of(projection)
    async with working(client, database, registry), dispatching(client, database, registry):

        async def placed() -> bool:
            async with database.engine.connect() as connection:
                return bool(await deliveries.all_delivered(connection))

        await until(placed)
        await run(client, database, "Rebuild", "counters")
        async with beside(client, database, LACKING):
            for _ in range(2):
                await run(client, database, "Rebuild", "counters")

            async def all_seen() -> bool:
                return len(seen) >= 3

            await until(all_seen)
    assert len(set(seen)) == 3
    assert "SystemHandlerFailed" not in await recorded_types(database)
