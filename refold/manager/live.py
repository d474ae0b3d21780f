"""Live projections from Python: started, stopped, and asked how they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Self

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowQueryFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import ConfigurationError, RefoldError
from refold.manager.health import ProjectionHealth, Standing, judged, read_standing
from refold.manager.publication import publish
from refold.messages.live import LiveHealth, LiveStatus
from refold.messages.markdown import escaped
from refold.messages.recorded_event import RecordedEvent
from refold.messages.run.life import Progress
from refold.messages.step_failures import StepFailure
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.store import deployments, generations, system_events
from refold.system_events.events import SystemEvent

# A worker may just be starting, or be busy.
_QUERY_TIMEOUT = timedelta(seconds=10)

# The last one when Temporal has seen no poller lately.
_NOBODY_ANSWERS = (
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.FAILED_PRECONDITION,
)

# Of the runs that may be at a projection.
_KINDS = ("rebuild", "backfill", "rollback", "snapshot")


class NotLive(RefoldError):
    """No live projection of that name runs."""


class LiveManager:
    """The part of `refold.manager.ProjectionManager` that is about live projections."""

    def __init__(
        self, client: Client, database_url: str | None = None, *, task_queue: str = "refold"
    ) -> None:
        self._client = client
        self._database_url = database_url
        self._task_queue = task_queue
        self._made_engine: AsyncEngine | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connections to the database; the next call that needs some opens new ones."""
        engine, self._made_engine = self._made_engine, None
        if engine is not None:
            await engine.dispose()

    async def start(self, name: str) -> None:
        """Starts a live projection, or one that was stopped; nothing happens when it runs."""
        await self._signal_with_start(name, "start")

    async def restart(self, name: str) -> None:
        """Goes on at the checkpoint at once, also after a failure; starts it if need be."""
        await self._signal_with_start(name, "restart")

    async def _signal_with_start(self, name: str, signal: str) -> None:
        await self._client.start_workflow(
            "Projection",
            {"projection": name},
            id=f"projection/{name}",
            task_queue=self._task_queue,
            start_signal=signal,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            static_summary=f"{escaped(name)}, live",
        )

    async def stop(self, name: str) -> None:
        """Stops a live projection after the batch in hand; its checkpoint stays.

        Raises:
            NotLive: None of that name runs.
        """
        try:
            await self._client.get_workflow_handle(f"projection/{name}").signal("stop")
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            raise NotLive(
                f"projection {name!r}: expected a live projection, none runs: "
                f"`refold start {name}` starts it"
            ) from None

    async def publish(self, event: SystemEvent) -> str:
        """Publishes a system event: for handlers, and on the record.

        One that asks for something (`ProjectionBackfillRequested` and its like) starts it, also
        when nothing of the projection runs yet; what comes of it is recorded with the same
        correlation id.

        Returns:
            Its correlation id: its own, or a new one.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        return await publish(self._client, self._engine, event, task_queue=self._task_queue)

    async def get_system_events(
        self, name: str | None = None, *, after: int = 0, limit: int = 50
    ) -> list[RecordedEvent]:
        """The latest system events, the oldest of them first.

        Args:
            name: Of this projection; None for all projections.
            after: Only numbers above this (exclusive).
            limit: How many at most.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connected() as connection:
            return await system_events.latest(connection, name, limit=limit, after=after)

    async def get_current_checkpoint(self, name: str) -> int | None:
        """The position up to which readers see all events; None when nothing was built yet.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connected() as connection:
            active = await generations.active(connection, name)
        return active.position if active is not None else None

    async def get_status(self, name: str) -> LiveStatus:
        """Where a live projection is in its life; ``stopped`` when none runs."""
        return (await self._live_health(name)).status

    async def get_health(self, name: str, types: Sequence[str] | None = None) -> ProjectionHealth:
        """How a projection is.

        Args:
            name: The projection.
            types: The event types that it reads, for its lag; None to count all.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connected() as connection:
            standing = await read_standing(connection, name, types)
        live = await self._live_health(name)
        failing = await self._failing_run(name, standing.held_by)
        note = live.report.note if live.report else None
        both = [one for one in (live.failing, failing) if one is not None]
        return judged(standing, live.status, live.error, note, both, waiting_for=live.waiting_for)

    async def get_failing_steps(self, name: str, held_by: str | None = None) -> list[StepFailure]:
        """The steps of a projection that fail and are tried again: of its run, and live.

        Args:
            name: The projection.
            held_by: The workflow id of the run that holds it; None to go by the default ids.
        """
        live = await self._live_health(name)
        failing = await self._failing_run(name, held_by)
        return [one for one in (live.failing, failing) if one is not None]

    async def _failing_run(self, name: str, held_by: str | None) -> StepFailure | None:
        ids = [held_by] if held_by else [f"{kind}/{name}" for kind in _KINDS]
        found = await asyncio.gather(*[self._failing(workflow_id) for workflow_id in ids])
        return next((one for one in found if one is not None), None)

    async def _failing(self, workflow_id: str) -> StepFailure | None:
        handle = self._client.get_workflow_handle(workflow_id)
        # What does not answer says nothing of its steps; whoever asks has asked more than this.
        with suppress(RPCError, WorkflowQueryFailedError):
            if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
                return None
            answer: Progress = await handle.query(
                "progress", result_type=Progress, rpc_timeout=_QUERY_TIMEOUT
            )
            return answer.failing
        return None

    async def get_all_projections(self) -> list[Standing]:
        """How each projection stands that was ever built, by name.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connected() as connection:
            names = await generations.projections(connection)
            return [await read_standing(connection, name) for name in names]

    async def has_workers(self) -> bool:
        """Whether a worker of the task queue has shown itself in the database lately (a minute).

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connected() as connection:
            queue = deployments.queue_of(self._client.namespace, self._task_queue)
            return await deployments.has_workers(connection, queue)

    async def _live_health(self, name: str) -> LiveHealth:
        handle = self._client.get_workflow_handle(f"projection/{name}")
        stopped = LiveHealth(projection=name, status=LiveStatus.STOPPED)
        try:
            if (await handle.describe()).status != WorkflowExecutionStatus.RUNNING:
                return stopped
            answer: LiveHealth = await handle.query(
                "health", result_type=LiveHealth, rpc_timeout=_QUERY_TIMEOUT
            )
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return stopped
            if error.status not in _NOBODY_ANSWERS:
                raise
            return LiveHealth(projection=name, status=LiveStatus.STARTING)
        except WorkflowQueryFailedError:
            return LiveHealth(projection=name, status=LiveStatus.STARTING)
        return answer

    @property
    def _engine(self) -> AsyncEngine:
        """One for the manager's life, made when it is first needed."""
        if self._database_url is None:
            raise ConfigurationError(
                "ProjectionManager: expected one that was made with the database's address for "
                "this call: ProjectionManager(client, database_url)"
            )
        if self._made_engine is None:
            settings = Settings(database_url=self._database_url)
            self._made_engine = make_engine(settings, activities=0)
        return self._made_engine

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        looking = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        async with looking.connect() as connection:
            yield connection
