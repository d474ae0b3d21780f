"""Auto-start: a projection that wants it builds itself when a worker first sees it, once."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from refold.errors import NotDeployed
from refold.fairness import fairness_key
from refold.live import AUTO_START, auto_start_id
from refold.projection import Projection
from refold.registry import Registry
from refold.requests import BackfillRequest
from refold.store import generations, leases, runs

logger = logging.getLogger(__name__)


async def wanted(connection: AsyncConnection, projection: Projection) -> bool:
    """Whether the projection is to be built by itself, now.

    Not when its version, or a higher one, is live, or has been: whoever rolled it back meant it.
    Not when it was tried: a failure is for a person to look at. And not while a run holds it.
    """
    if not projection.backfill.auto_start:
        return False
    active = await generations.active(connection, projection.name)
    # A worker of older code does not bring an older version back.
    if active is not None and active.version >= projection.version:
        return False
    if await runs.has_built(
        connection,
        projection.name,
        projection.version,
        tried_by=AUTO_START,
        tried_under=auto_start_id(projection.name, projection.version),
    ):
        return False
    return await leases.holder(connection, projection.name) is None


def require_deployed(registry: Registry, projection: str, workflow_id: str) -> None:
    """Leaves a run by which a version builds itself to workers that have the version.

    While new code is being deployed, a worker of the old code may be asked first.

    Raises:
        NotDeployed: This worker has only older versions, or none.
    """
    if not workflow_id.startswith(auto_start_id(projection, "")):
        return
    wanted_version = workflow_id.rpartition("/")[2]
    known = registry.get(projection).version if projection in registry else 0
    if wanted_version.isdecimal() and int(wanted_version) > known:
        raise NotDeployed(projection, int(wanted_version), known)


class AutoStart:
    """Starts the `Rebuild` of each projection that wants it; one for any number of workers.

    Args:
        engine: The database.
        client: Temporal.
        registry: The projections.
        task_queue: Where the runs are carried out.
    """

    def __init__(
        self, engine: AsyncEngine, client: Client, registry: Registry, task_queue: str
    ) -> None:
        self._engine = engine
        self._client = client
        self._registry = registry
        self._task_queue = task_queue
        self._started: set[str] = set()

    async def look(self) -> list[str]:
        """Starts what is to be started now.

        Returns:
            The ids of the workflows that were started by this call.
        """
        started = []
        for projection in self._registry:
            workflow_id = auto_start_id(projection.name, projection.version)
            if workflow_id in self._started:
                continue
            async with self._engine.connect() as connection:
                if not await wanted(connection, projection):
                    continue
            if await self._start(projection, workflow_id):
                started.append(workflow_id)
            self._started.add(workflow_id)
        return started

    async def _start(self, projection: Projection, workflow_id: str) -> bool:
        request = BackfillRequest(projection=projection.name, requested_by=AUTO_START)
        try:
            await self._client.start_workflow(
                "Rebuild",
                request.model_dump(mode="json", exclude_none=True),
                id=workflow_id,
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                static_summary=f"{projection.name} version {projection.version} builds itself",
                priority=Priority(fairness_key=fairness_key(projection.name)),
            )
        except WorkflowAlreadyStartedError:
            # By another worker just now, as a rule.
            logger.info("%s has been started already", workflow_id)
            return False
        logger.info("started %s", workflow_id)
        return True
