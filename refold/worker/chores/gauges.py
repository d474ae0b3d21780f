"""Gauges: how projections stand is looked at now and then, for metrics."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.service import RPCError

from refold.engine.lifecycle import figures
from refold.manager.health import read_standing
from refold.messages.run.status import RunStatus
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.telemetry import gauges
from refold.runtime.telemetry.metrics import seconds_between_looks
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in

# To count a long lag takes long: no more than a twentieth of the time goes into it.
_SHARE = 20
_RPC_TIMEOUT = timedelta(seconds=2)


class Gauges:
    """Looks at each projection that this worker has. Every worker tells the same.

    Args:
        engine: The database.
        client: Temporal.
        registry: The projections.
    """

    name = "metrics"

    def __init__(self, engine: AsyncEngine, client: Client, registry: Registry) -> None:
        self._looking = autocommit(engine)
        self._client = client
        self._registry = registry
        self._told = gauges.Told()
        self._told.tell()
        self.seconds = seconds_between_looks()

    async def run_once(self) -> Looked:
        """Looks at all of them once; what cannot be seen is not told. See `Chore`."""
        began = time.monotonic()
        looked = Looked(projections=[projection.name for projection in self._registry])
        values: dict[str, dict[str, float]] = defaultdict(dict)
        try:
            async with self._looking.connect() as connection:
                for projection in self._registry:
                    try:
                        await self._look(connection, projection.name, values)
                    except Exception as error:
                        why = await reason_in(self._looking, error)
                        looked.cannot(projection.name, "metrics", why)
        finally:
            self._told.values = dict(values)
            took = time.monotonic() - began
            self.seconds = max(seconds_between_looks(), _SHARE * took)
        return looked

    async def _look(
        self, connection: AsyncConnection, name: str, values: dict[str, dict[str, float]]
    ) -> None:
        awaited = await figures.awaiting(connection, name)
        if awaited is not None and await self._awaits(awaited[0]):
            values[gauges.APPROVAL_AGE][name] = awaited[1]
        found = await figures.figures_of(connection, name)
        if found is None:
            return
        values[gauges.GENERATION_AGE][name] = found.generation_age
        values[gauges.CHECKPOINT_AGE][name] = found.checkpoint_age
        values[gauges.DEAD_LETTERS][name] = found.dead_letters
        types = self._registry.get(name).event_types
        standing = await read_standing(connection, name, types)
        values[gauges.LAG_EVENTS][name] = standing.lag_events
        values[gauges.LAG_SECONDS][name] = standing.lag_seconds

    async def _awaits(self, workflow_id: str) -> bool:
        """Whether a run awaits approval now; it is taken to when its workflow does not answer."""
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            status = await handle.query("status", rpc_timeout=_RPC_TIMEOUT)
        except (RPCError, WorkflowQueryFailedError):
            return True
        return bool(status == RunStatus.AWAITING_APPROVAL)
