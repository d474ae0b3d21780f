"""Beginning a rollback: which generation, and whether it can be brought to the head."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating, place
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.lifecycle.lease_standing import Executions
from refold.engine.planning import admission
from refold.engine.planning.head import settled_head
from refold.engine.planning.preview import preview
from refold.engine.step import Step
from refold.errors import InvalidRequest
from refold.messages.run.life import BeginRollback
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.requests.poison_policy import Poison
from refold.requests.runs import RollbackRequest
from refold.runtime.settings import Settings
from refold.source.log import count_events
from refold.store import generations, leases, runs, snapshots
from refold.store.generations import RETAINED, SNAPSHOT, UNMANAGED, Generation
from refold.store.swap.swap import require_none_refused
from refold.store.tables import read_models


class RollbackActivities:
    """The activity that begins a rollback.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the heartbeat timeout.
        executions: Whether runs that hold a projection are alive.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        registry: Registry,
        settings: Settings,
        executions: Executions,
    ) -> None:
        self._engine = engine
        self._executions = executions
        self._registry = registry
        self._deployment = Deployment(engine, registry, place, settings.deployment_seconds)
        self._settings = settings

    @activity.defn
    async def begin_rollback(self, begin: BeginRollback) -> Plan:
        """Takes the projection's lease and plans the rollback; one that was begun finds its plan.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: There is no such generation or snapshot to go back to, or the handlers
                of its version are not registered.
            SwapRefused: Something hangs on the live table that cannot move.
        """
        request = begin.request
        await self._deployment.any_version(request.projection)
        async with heartbeating(self._engine, begin.run_id) as beat:
            known = await admission.begin(
                self._engine,
                self._executions,
                request,
                run_id=begin.run_id,
                workflow_id=activity.info().workflow_id or "",
                kind="Rollback",
            )
            return known or await self._plan(begin, beat)

    async def _plan(self, begin: BeginRollback, beat: Step) -> Plan:
        request = begin.request
        async with self._engine.connect() as connection:
            target = await _target(connection, request)
            if not await read_models.exists(connection, target.schema_name, target.table_name):
                raise InvalidRequest(
                    f"generation {target.generation} of {request.projection!r}: expected its table "
                    f"{target.schema_name}.{target.table_name} to be there, somebody has dropped "
                    "it: roll back to another, or start a Rebuild"
                )
            active = await generations.active(connection, request.projection)
            projection = await self._deployment.version(request.projection, target.version)
            copied = target.status == SNAPSHOT
            stale = projection is None or target.position is None
            if stale and (copied or not request.allow_stale):
                raise InvalidRequest(self._why_stale(request, target))
            # Of a version that is not registered only the table's name matters: all have the same.
            projection = projection or self._registry.get(request.projection)
            head = await settled_head(self._engine, target, beat)
            behind = 0
            if not stale:
                behind = await self._behind(connection, projection, target, head)
            number = target.generation
            if copied:
                number = 1 + await generations.highest(connection, projection.name)
            plan = Plan(
                run_id=begin.run_id,
                projection=projection.name,
                version=projection.version,
                generation=number,
                atomic=True,
                position=target.position or 0,
                head=head,
                partitions=0,
                max_concurrency=1,
                batch_size=projection.backfill.batch_size,
                total_events=behind,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                swap_patience_seconds=self._settings.swap_patience_seconds,
                note=_note(target, stale=stale),
                restores=not copied,
                stale=stale,
                copies=target.generation if copied else None,
                poison=projection.backfill.poison(Poison()),
            )
            shown = await preview(connection, projection, plan, active, exact=False)
        plan = plan.shown_as(shown)
        require_none_refused(shown.refused, projection.table.fullname)
        return await self._record(begin, plan, projection, target)

    async def _record(
        self,
        begin: BeginRollback,
        plan: Plan,
        projection: Projection,
        target: Generation,
    ) -> Plan:
        """Writes the plan and makes room for the copy of a snapshot: all of it or nothing.

        Returns:
            The plan that stands: another attempt's, if that was sooner.
        """
        async with self._engine.begin() as connection:
            await leases.require(connection, plan.run_id)
            sooner = await runs.planned(connection, plan.run_id)
            if sooner is not None:
                return Plan.model_validate(sooner)
            # Retention looks at the lease under this lock before it drops a generation.
            still = await generations.get(connection, plan.projection, target.generation, lock=True)
            if still is None or still.status != target.status:
                why = "" if target.status == SNAPSHOT else ", its time was over"
                raise InvalidRequest(
                    f"generation {target.generation} of {plan.projection!r} has just been "
                    f"dropped{why}: roll back to another"
                )
            if plan.copies is not None:
                made = await snapshots.create_copy(connection, projection, run_id=plan.run_id)
                assert made.generation == plan.generation, "the lease keeps others from making any"
            await runs.set_plan(connection, plan.run_id, plan.model_dump(mode="json"))
            await announcements.started(connection, plan, "Rollback", begin.request)
        return plan

    async def _behind(
        self, connection: AsyncConnection, projection: Projection, target: Generation, head: int
    ) -> int:
        return await count_events(
            connection,
            types=projection.event_types,
            after=target.position or 0,
            upto=head,
            since=projection.start_from,
        )

    def _why_stale(self, request: RollbackRequest, target: Generation) -> str:
        known = ", ".join(str(v) for v in self._registry.versions(request.projection))
        what = f"generation {target.generation} of {request.projection!r}"
        if target.status == SNAPSHOT:
            return (
                f"{what} is a snapshot of version {target.version}, whose handlers are not "
                f"registered (registered: {known}): register that version beside the present one; "
                "a snapshot cannot be put live without them, with allow_stale neither"
            )
        if target.version == UNMANAGED:
            why = f"{what} was there before Refold: nothing is known that could bring it up to date"
        else:
            why = (
                f"{what} was built by version {target.version}, whose handlers are not registered "
                f"(registered: {known}): register that version beside the present one"
            )
        return (
            f"{why}; or set allow_stale to put it live as it is, at position "
            f"{'unknown' if target.position is None else target.position}"
        )


async def _target(connection: AsyncConnection, request: RollbackRequest) -> Generation:
    """The generation to go back to, or the snapshot that is named.

    Raises:
        InvalidRequest: There is none such; the message lists those there are.
    """
    retained = await generations.replaced(connection, request.projection)
    frozen = await snapshots.newest_first(connection, request.projection)
    named = [g for g in frozen if g.generation == request.to_generation]
    return named[0] if named else _chosen(request, retained, frozen)


def _chosen(
    request: RollbackRequest, retained: list[Generation], frozen: list[Generation]
) -> Generation:
    fits = [
        g
        for g in retained
        if request.to_generation in (None, g.generation) and request.to_version in (None, g.version)
    ]
    if fits:
        return fits[0]
    there = _listed(retained)
    if request.to_generation is not None:
        raise InvalidRequest(
            f"to_generation: expected one of the retained generations of {request.projection!r}, "
            f"{there}, or of its snapshots, {_listed(frozen)}, got {request.to_generation}"
        )
    if request.to_version is not None:
        raise InvalidRequest(
            f"to_version: expected the version of one of the retained generations of "
            f"{request.projection!r}, {there}, got {request.to_version}"
        )
    by_name = f" (snapshots, {_listed(frozen)}, only by to_generation)" if frozen else ""
    raise InvalidRequest(
        f"projection {request.projection!r}: expected a retained generation to go back to, found "
        f"none{by_name}: only what a rebuild or rollback has replaced can be brought back"
    )


def _listed(found: list[Generation]) -> str:
    return ", ".join(f"{g.generation} (version {g.version})" for g in found) or "none"


def _note(target: Generation, *, stale: bool) -> str | None:
    if target.status == SNAPSHOT:
        return (
            f"a copy of the snapshot, generation {target.generation}, of position "
            f"{target.position}; the snapshot stays"
        )
    assert target.status == RETAINED
    if not stale:
        return None
    return "put live as it is, at its old checkpoint: events since are not in it"
