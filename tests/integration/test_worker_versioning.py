"""Temporal's Worker Versioning: runs end on the build that they began with, live ones go over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import SetWorkerDeploymentCurrentVersionRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import ConfigurationError
from refold.projection.registry import Registry
from refold.runtime.settings import Settings
from refold.worker.chores.auto_start import AutoStart
from refold.worker.versioning import deployment_of
from tests.integration.test_rolling_deployment import beside, shown
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.live import live, until_status
from tests.support.runs import assert_oracle, queue, start, until
from tests.support.versions import doubled

OLD, NEW = counters(), doubled()
STREAMS, HALVES = siblings()


async def make_current(client: Client, database: Database, build: str) -> None:
    """What a deployment does once workers of a build are up."""
    request = SetWorkerDeploymentCurrentVersionRequest(
        namespace=client.namespace, deployment_name=queue(database), build_id=build
    )

    async def done() -> bool:
        try:
            await client.workflow_service.set_worker_deployment_current_version(request)
        except RPCError as error:  # its workers have not polled yet
            if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION):
                raise
            return False
        return True

    await until(done)


async def build_of(handle: WorkflowHandle[Any, Any]) -> str:
    """The build that a workflow is on."""
    info = (await handle.describe()).raw_description.workflow_execution_info
    return str(info.versioning_info.deployment_version.build_id)


@pytest.mark.usefixtures("counters_built")
async def test_runs_stay_on_their_build_and_live_ones_go_over(
    client: Client, database: Database
) -> None:
    one, two = registry_of(OLD), Registry([OLD, NEW, STREAMS, HALVES])
    name = queue(database)
    async with beside(client, database, one, worker_deployment=name, worker_build_id="1"):
        await make_current(client, database, "1")
        await shown(client, database, one)
        async with (
            live(client, database) as following,
            beside(client, database, two, worker_deployment=name, worker_build_id="2"),
        ):
            # There, not current: it has the higher version, and no run may wait for it.
            await shown(client, database, two)
            asked = {"projection": "counters", "approval": "manual"}
            waiting = await start(client, database, "Rebuild", asked, workflow_id=f"{name}/1")
            await until_awaiting(waiting)
            looked = await AutoStart(database.engine, client, two, name).run_once()
            assert (looked.done, looked.troubles) == ([], [])

            await make_current(client, database, "2")
            await waiting.signal("approve")
            assert (await asyncio.wait_for(waiting.result(), 60)).status == "completed"
            assert await build_of(waiting) == "1"
            await assert_oracle(database.engine, OLD)

            async def is_over() -> bool:
                return await build_of(following) == "2"

            await until(is_over)
            for projection in (NEW, HALVES):
                asked = {"projection": projection.name}
                handle = await start(client, database, "Rebuild", asked, workflow_id=f"{name}/2")
                assert (await asyncio.wait_for(handle.result(), 60)).status == "completed"
                assert await build_of(handle) == "2"
                await assert_oracle(database.engine, projection)
            await until_status(following, "live")


async def until_awaiting(handle: WorkflowHandle[Any, Any]) -> None:
    async def awaiting() -> bool:
        return bool((await handle.query("progress"))["status"] == "awaiting_approval")

    await until(awaiting)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"worker_deployment": "shop"}, "REFOLD_WORKER_BUILD_ID: expected it beside"),
        ({"worker_build_id": "1"}, "REFOLD_WORKER_DEPLOYMENT: expected it beside"),
    ],
)
def test_one_setting_without_the_other_is_refused(given: dict[str, Any], said: str) -> None:
    assert deployment_of(Settings()) is None
    with pytest.raises(ConfigurationError, match=said):
        deployment_of(Settings(**given))
