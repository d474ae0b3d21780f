"""Auto-start: a projection that wants it builds itself when a worker first sees it, once."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from refold.engine.planning.auto_start import wanted
from refold.messages.live import AUTO_START, auto_start_id
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.requests.fairness import fairness_key
from refold.requests.runs import BackfillRequest
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in
from refold.worker.versioning import is_current

logger = logging.getLogger(__name__)

_SECONDS = 30.0


class AutoStart:
    """Starts the `Rebuild` of each projection that wants it; one for any number of workers.

    Args:
        engine: The database.
        client: Temporal.
        registry: The projections.
        task_queue: Where the runs are carried out.
    """

    name = "auto-start"
    seconds = _SECONDS

    def __init__(
        self, engine: AsyncEngine, client: Client, registry: Registry, task_queue: str
    ) -> None:
        self._engine = engine
        self._client = client
        self._registry = registry
        self._task_queue = task_queue
        self._started: set[str] = set()

    async def run_once(self) -> Looked:
        """Starts what is to be started now; `done` has the workflows' ids. See `Chore`."""
        looked = Looked(projections=[projection.name for projection in self._registry])
        build = self._registry.build
        if build is not None and not await is_current(self._client, build):
            return looked  # the run would begin on another build, which may lack the projection
        for projection in self._registry:
            workflow_id = auto_start_id(projection.name, projection.version)
            if workflow_id in self._started:
                continue
            try:
                async with self._engine.connect() as connection:
                    if not await wanted(connection, projection):
                        continue
                if await self._start(projection, workflow_id):
                    looked.done.append(workflow_id)
            except Exception as error:
                looked.cannot(projection.name, workflow_id, await reason_in(self._engine, error))
            else:
                self._started.add(workflow_id)
        return looked

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
