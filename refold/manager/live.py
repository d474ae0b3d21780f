"""Live projections from Python: started, stopped, and asked where they are."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import NotLive
from refold.manager.connection import Connection, is_running
from refold.messages.live import LiveHealth, LiveStatus
from refold.messages.markdown import escaped

QUERY_TIMEOUT = timedelta(seconds=10)
"""A worker may just be starting, or be busy."""

NOBODY_ANSWERS = (
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.FAILED_PRECONDITION,
)
"""The last one when Temporal has seen no poller lately."""


class LiveProjections:
    """Starts and stops live projections, and asks where they are in their life."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start(self, name: str) -> None:
        """Starts a live projection, or one that was stopped; nothing happens when it runs."""
        await self._signal_with_start(name, "start")

    async def restart(self, name: str) -> None:
        """Goes on at the checkpoint at once, also after a failure; starts it if need be."""
        await self._signal_with_start(name, "restart")

    async def stop(self, name: str) -> None:
        """Stops a live projection after the batch in hand; its checkpoint stays.

        Raises:
            NotLive: None of that name runs.
        """
        try:
            await self._connection.client.get_workflow_handle(f"projection/{name}").signal("stop")
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise NotLive(
                f"projection {name!r}: expected a live projection, none runs: "
                f"`refold start {name}` starts it"
            ) from None

    async def get_status(self, name: str) -> LiveStatus:
        """Where a live projection is in its life; ``stopped`` when none runs."""
        return (await self.own_health(name)).status

    async def own_health(self, name: str) -> LiveHealth:
        """What the live projection says of itself.

        It is ``stopped`` when none runs, and ``starting`` when no worker answers for it.
        """
        handle = self._connection.client.get_workflow_handle(f"projection/{name}")
        stopped = LiveHealth(projection=name, status=LiveStatus.STOPPED)
        try:
            if not await is_running(handle):
                return stopped
            answer: LiveHealth = await handle.query(
                "health", result_type=LiveHealth, rpc_timeout=QUERY_TIMEOUT
            )
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return stopped
            if error.status not in NOBODY_ANSWERS:
                raise
            return LiveHealth(projection=name, status=LiveStatus.STARTING)
        except WorkflowQueryFailedError:
            return LiveHealth(projection=name, status=LiveStatus.STARTING)
        return answer

    async def _signal_with_start(self, name: str, signal: str) -> None:
        await self._connection.require_keys()
        await self._connection.client.start_workflow(
            "Projection",
            {"projection": name},
            id=f"projection/{name}",
            task_queue=self._connection.task_queue,
            start_signal=signal,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"{escaped(name)}, live",
        )
