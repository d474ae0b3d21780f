"""Dispatch: handlers of system events are given those that there are, each by a workflow."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy

from refold.errors import ConfigurationError
from refold.messages.deliveries import DeliveryRequest
from refold.messages.markdown import escaped
from refold.projection.registry import Registry
from refold.store import deliveries, system_events
from refold.system_events.handlers import SystemHandler
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in

_SECONDS = 1.0

Pair = tuple[str, str]


class Dispatch:
    """Starts a workflow for each handler that has events to be given and none at work.

    Args:
        engine: The database.
        client: Temporal.
        registry: The handlers.
        task_queue: Where the workflows are carried out.
    """

    name = "system events"
    seconds = _SECONDS

    def __init__(
        self, engine: AsyncEngine, client: Client, registry: Registry, task_queue: str
    ) -> None:
        self._engine = engine
        self._client = client
        self._task_queue = task_queue
        self._names = [projection.name for projection in registry]
        self._wanted: dict[Pair, SystemHandler] = {
            (name, handler.name): handler
            for name in self._names
            for handler in registry.system_handlers(name)
        }
        self._behind: dict[Pair, int] = {}

    async def run_once(self) -> Looked:
        """Looks at each handler; `done` has the ids of the workflows at work. See `Chore`."""
        looked = Looked(projections=self._names)
        if not self._wanted:
            return looked
        async with self._engine.begin() as connection:
            known = await deliveries.all_delivered(connection)
            await deliveries.begin(connection, [pair for pair in self._wanted if pair not in known])
            await deliveries.seen(connection, [pair for pair in self._wanted if pair in known])
            lasts = await system_events.lasts(connection)
        behind = [pair for pair in self._wanted if known.get(pair, 2**62) < lasts.get(pair[0], 0)]
        before, self._behind = self._behind, {pair: known[pair] for pair in behind}
        for name, handler in behind:
            try:
                async with self._engine.begin() as connection:
                    due = await self._is_due(connection, name, handler, known, lasts)
                if not due:
                    continue
                handle = await self._deliver(name, handler)
                looked.done.append(handle.id)
                # As far behind as a look ago: it may be where nobody works.
                if before.get((name, handler)) == known[name, handler]:
                    await self._require_here(handle)
            except Exception as error:
                looked.cannot(name, f"handler {handler}", await reason_in(self._engine, error))
        return looked

    async def _is_due(
        self,
        connection: AsyncConnection,
        name: str,
        handler: str,
        known: dict[Pair, int],
        lasts: dict[str, int],
    ) -> bool:
        types = list(self._wanted[name, handler].types)
        after = known[name, handler]
        if await system_events.next_of_types(connection, name, types, after=after, limit=1):
            return True
        await deliveries.advance(connection, name, handler, lasts[name])
        return False

    async def _deliver(self, projection: str, handler: str) -> WorkflowHandle[Any, Any]:
        request = DeliveryRequest(projection=projection, handler=handler)
        return await self._client.start_workflow(
            "SystemEvents",
            request.model_dump(mode="json", exclude_none=True),
            id=f"system-events/{projection}/{handler}",
            task_queue=self._task_queue,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=escaped(f"system events of {projection} for {handler}"),
        )

    async def _require_here(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Raises when a workflow is carried out on another task queue, if by anybody."""
        queue = (await handle.describe()).task_queue
        if queue != self._task_queue:
            raise ConfigurationError(
                f"{handle.id!r} runs on task queue {queue!r}: expected {self._task_queue!r}; start "
                "a worker there, or end it, and it begins anew here: "
                f"`temporal workflow terminate --workflow-id '{handle.id}'`"
            )
