"""How projections are: what the database, the live projection and the run at hand say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from pydantic import Field
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from refold.manager.connection import Connection, is_running
from refold.manager.current_runs import KINDS
from refold.manager.live import QUERY_TIMEOUT, LiveProjections
from refold.messages.base import Message
from refold.messages.live import LiveError, LiveHealth, LiveStatus
from refold.messages.run.life import Progress
from refold.messages.step_failures import StepFailure
from refold.source.head import SettledHead
from refold.source.port.current import event_source, events
from refold.source.port.elsewhere import reads_events
from refold.source.tenants import of_tenant
from refold.store import deployments, generations, leases

# A transaction that has been open for so long does not end by itself any more, as a rule.
FROZEN_SECONDS = 30.0
# Where somebody always writes, one look finds an open transaction nearly every time.
_SETTLING_SECONDS = 0.3


class Standing(Message):
    """How a projection stands in the database.

    Attributes:
        projection: The projection.
        generation: What readers query; None when nothing was built yet.
        version: The version that built it.
        position: Its checkpoint.
        head: The settled head.
        lag_events: Settled events after the checkpoint, of the types that are read.
        lag_seconds: Age of the oldest of these, by `recorded_at`; 0 when there is none.
        frozen_by: Transactions that have kept the head from moving for half a minute or more:
            what was appended since is not read, though the lag says nothing of it.
        held_by: The workflow id of the run that holds the projection.
        kept_in: The store that keeps the checkpoint, such as ``redis://host:6379/0``; None when it
            is in the database. `position` is then where the last batch ended that wrote rows.
    """

    projection: str
    generation: int | None = None
    version: int | None = None
    position: int | None = None
    head: int = 0
    lag_events: int = 0
    lag_seconds: float = 0.0
    frozen_by: list[str] = Field(default_factory=list)
    held_by: str | None = None
    kept_in: str | None = None


class ProjectionHealth(Message):
    """A projection's health.

    Attributes:
        status: Where the live projection is in its life; ``stopped`` when there is none.
        is_healthy: Whether it is live or catching up, the head is not frozen, no step fails, and
            nothing has held it up for half a minute.
        reason: Why it is not healthy; None when it is.
        standing: What the database says.
        error: Why it failed, as long as it has not worked since.
        failing: Steps that fail and are tried again, of the live projection and of the run that
            writes it.
        waiting_for: Who or what holds the live projection up right now; empty when nothing does.
    """

    projection: str
    status: LiveStatus
    is_healthy: bool
    reason: str | None
    standing: Standing
    error: LiveError | None = None
    failing: list[StepFailure] = Field(default_factory=list)
    waiting_for: list[str] = Field(default_factory=list)


async def read_standing(
    connection: AsyncConnection,
    name: str,
    types: Sequence[str] | None = None,
    among: ColumnElement[bool] | None = None,
    *,
    settled: int | None = None,
) -> Standing:
    """How a projection stands.

    Args:
        connection: In autocommit.
        name: The projection.
        types: The event types that it reads; None for those that workers have shown lately (all,
            if none has).
        among: The lag is that of these events only: a tenant's, say.
        settled: A position that is known to be settled; None to wait a moment for one.
    """
    active = await generations.active(connection, name)
    if types is None:
        version = None if active is None else active.version
        types = await deployments.event_types(connection, name, version)
    lease = await leases.holder(connection, name)
    position = active.position if active is not None else None
    known = [at for at in (position, settled) if at is not None]
    head = SettledHead(max(known, default=None), records=False)
    await head.wait(connection, seconds=_SETTLING_SECONDS if settled is None else 0)
    after = event_source().before if position is None else position
    lag, age = await _lag(connection, after, head.position, types, among)
    now = datetime.now(UTC)
    return Standing(
        projection=name,
        generation=active.generation if active is not None else None,
        version=active.version if active is not None else None,
        position=position,
        head=head.position,
        lag_events=lag,
        lag_seconds=age,
        frozen_by=[
            str(writer)
            for writer in head.waiting_for
            if writer.since is not None and (now - writer.since).total_seconds() > FROZEN_SECONDS
        ],
        held_by=lease.workflow_id if lease is not None else None,
        kept_in=active.away["place"] if active is not None and active.away is not None else None,
    )


@reads_events
async def _lag(
    connection: AsyncConnection,
    position: int,
    head: int,
    types: Sequence[str] | None,
    among: ColumnElement[bool] | None,
) -> tuple[int, float]:
    age = func.extract("epoch", func.now() - func.min(events().c.recorded_at))
    statement = select(func.count(), age).where(
        events().c.position > position, events().c.position <= head
    )
    if types is not None:
        stored = event_source().stored_types(types)
        statement = statement.where(events().c.type.in_(stored))
    if among is not None:
        statement = statement.where(among)
    count, seconds = (await connection.execute(statement)).one()
    return count, round(float(seconds), 3) if seconds is not None else 0.0


def judged(
    standing: Standing,
    status: LiveStatus,
    error: LiveError | None,
    note: str | None,
    failing: Sequence[StepFailure] = (),
    *,
    waiting_for: Sequence[str] = (),
) -> ProjectionHealth:
    """The health that status, standing and failing steps make."""
    reason = None
    if status not in (LiveStatus.LIVE, LiveStatus.CATCHING_UP):
        reason = f"it is {status}" + (f": {note}" if note else "")
        if status is LiveStatus.NEEDS_REBUILD:
            reason = "it needs a rebuild" + (f": {note}" if note else "")
        if status is LiveStatus.STARTING:
            reason = "it is starting, or no worker answers"
        if status is LiveStatus.STOPPED:
            what = "start" if standing.generation is not None else "rebuild"
            reason = f"it is {status}: `refold {what} {standing.projection}`"
        if error is not None:
            reason = f"it is {status}: {error.message}"
    elif standing.frozen_by:
        reason = f"the head is held by {'; '.join(standing.frozen_by)}"
    elif waiting_for and standing.lag_seconds > FROZEN_SECONDS:
        reason = f"it waits for {'; '.join(waiting_for)}"
    if failing:
        reason = "; ".join([*([] if reason is None else [reason]), *map(str, failing)])
    return ProjectionHealth(
        projection=standing.projection,
        status=status,
        is_healthy=reason is None,
        reason=reason,
        standing=standing,
        error=error,
        failing=list(failing),
        waiting_for=list(waiting_for),
    )


def as_of_now(live: LiveHealth, standing: Standing) -> tuple[LiveStatus, str | None]:
    """The status of a live projection, and why it needs a rebuild if it does.

    It reports once a segment, which is a minute while nothing happens. If another generation has
    been swapped in since, its rebuild has been made: nobody is to ask for one more.
    """
    report = live.report
    if report is None or live.status is not LiveStatus.NEEDS_REBUILD:
        return live.status, report.note if report else None
    if report.generation != standing.generation:
        return LiveStatus.CATCHING_UP, None
    return live.status, report.note


class Health:
    """Asks how projections are."""

    def __init__(self, connection: Connection, live: LiveProjections) -> None:
        self._connection = connection
        self._live = live

    async def get_health(
        self, name: str, types: Sequence[str] | None = None, *, tenant: str | None = None
    ) -> ProjectionHealth:
        """How a projection is.

        Args:
            name: The projection.
            types: The event types that it reads, for its lag; None for those that workers have
                shown within a day.
            tenant: The lag is that of this tenant's events; None for that of all.

        Raises:
            ConfigurationError: The manager was made without a database.
            InvalidRequest: A tenant is given, but no `tenant_path` to the manager.
        """
        among = None if tenant is None else of_tenant(tenant, self._connection.tenant_path)
        async with self._connection.connected() as connection:
            standing = await read_standing(connection, name, types, among)
        live = await self._live.own_health(name)
        failing = await self._failing_run(name, standing.held_by)
        status, note = as_of_now(live, standing)
        both = [one for one in (live.failing, failing) if one is not None]
        return judged(standing, status, live.error, note, both, waiting_for=live.waiting_for)

    async def get_failing_steps(self, name: str, held_by: str | None = None) -> list[StepFailure]:
        """The steps of a projection that fail and are tried again: of its run, and live.

        Args:
            name: The projection.
            held_by: The workflow id of the run that holds it; None to go by the default ids.
        """
        live = await self._live.own_health(name)
        failing = await self._failing_run(name, held_by)
        return [one for one in (live.failing, failing) if one is not None]

    async def get_all_projections(self) -> list[Standing]:
        """How each projection stands that was ever built, or that a worker has, by name.

        Workers show themselves every 15 seconds, and are remembered for a day. One that was never
        built has no generation and no position; all events that it reads are its lag.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            names = {
                *await generations.projections(connection),
                *await deployments.registered(connection, self._connection.queue),
            }
            settled = await SettledHead(records=False).wait(connection, seconds=_SETTLING_SECONDS)
            return [
                await read_standing(connection, name, settled=settled) for name in sorted(names)
            ]

    async def has_workers(self) -> bool:
        """Whether a worker of the task queue has shown itself in the database lately (a minute).

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            return await deployments.has_workers(connection, self._connection.queue)

    async def _failing_run(self, name: str, held_by: str | None) -> StepFailure | None:
        ids = [held_by] if held_by else [f"{kind}/{name}" for kind in KINDS]
        found = await asyncio.gather(*[self._failing(workflow_id) for workflow_id in ids])
        return next((one for one in found if one is not None), None)

    async def _failing(self, workflow_id: str) -> StepFailure | None:
        handle = self._connection.client.get_workflow_handle(workflow_id)
        # What does not answer says nothing of its steps; whoever asks has asked more than this.
        with suppress(RPCError, WorkflowQueryFailedError):
            if not await is_running(handle):
                return None
            answer: Progress = await handle.query(
                "progress", result_type=Progress, rpc_timeout=QUERY_TIMEOUT
            )
            return answer.failing
        return None
