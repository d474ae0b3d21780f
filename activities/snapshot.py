"""Copies of a generation: beginning a snapshot, and filling a copy at its source's checkpoint."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating, place, planned
from refold.activities.shadow import add_indexes, alone, locked
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.lifecycle.lease_standing import Executions
from refold.engine.planning import admission
from refold.engine.planning.preview import preview
from refold.errors import InvalidRequest, RunEnded
from refold.messages.run.plan import Plan, RunStep
from refold.messages.snapshots import BeginSnapshot, Copied
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.settings import Settings
from refold.store import generations, leases, runs, snapshots
from refold.store.generations import Generation
from refold.store.tables import read_models


class SnapshotActivities:
    """The activities that copy a generation.

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
    async def begin_snapshot(self, begin: BeginSnapshot) -> Plan:
        """Takes the projection's lease and plans the copy; one that was begun finds its plan.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: There is nothing that can be copied.
        """
        request = begin.request
        await self._deployment.any_version(request.projection)
        async with heartbeating(self._engine, begin.run_id):
            known = await admission.begin(
                self._engine,
                self._executions,
                request,
                run_id=begin.run_id,
                workflow_id=activity.info().workflow_id or "",
                kind="Snapshot",
            )
            return known or await self._plan(begin)

    async def _plan(self, begin: BeginSnapshot) -> Plan:
        name = begin.request.projection
        async with self._engine.connect() as connection:
            active = await self._source(connection, name)
            projection = await self._built_by(active)
            position = active.position
            assert position is not None
            plan = Plan(
                run_id=begin.run_id,
                projection=name,
                version=active.version,
                generation=1 + await generations.highest(connection, name),
                atomic=False,
                position=position,
                head=position,
                partitions=0,
                max_concurrency=1,
                batch_size=projection.backfill.batch_size,
                total_events=0,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                copies=active.generation,
            )
            shown = await preview(connection, projection, plan, active, exact=False)
        plan = plan.shown_as(shown)
        async with self._engine.begin() as connection:
            await leases.require(connection, plan.run_id)
            sooner = await runs.planned(connection, plan.run_id)
            if sooner is not None:
                return Plan.model_validate(sooner)
            made = await snapshots.create_copy(connection, projection, run_id=plan.run_id)
            assert made.generation == plan.generation, "the lease keeps others from making any"
            await runs.set_plan(connection, plan.run_id, plan.model_dump(mode="json"))
            await announcements.started(connection, plan, "Snapshot", begin.request)
        return plan

    async def _source(self, connection: AsyncConnection, name: str) -> Generation:
        active = await generations.active(connection, name)
        if active is None:
            raise InvalidRequest(
                f"projection {name!r}: expected a read model to copy, it has never been built: "
                "start a Rebuild"
            )
        if not await read_models.exists(connection, active.schema_name, active.table_name):
            raise InvalidRequest(
                f"projection {name!r}: expected its live table to be there, it has been dropped: "
                "start a Rebuild"
            )
        if active.position is None:
            raise InvalidRequest(
                f"projection {name!r}: expected a live table with a checkpoint, it was there "
                "before Refold: start a Rebuild"
            )
        return active

    async def _built_by(self, active: Generation) -> Projection:
        projection = await self._deployment.version(active.projection, active.version)
        if projection is None:
            known = ", ".join(str(number) for number in self._registry.versions(active.projection))
            raise InvalidRequest(
                f"projection {active.projection!r}: the live table was built by version "
                f"{active.version}, which is not registered (registered: {known}): register it "
                "beside the present one, or start a Rebuild"
            )
        return projection

    @activity.defn
    async def copy_generation(self, step: RunStep) -> Copied:
        """Fills the plan's generation with the rows and the checkpoint of the one that it copies.

        It does all or nothing, in one transaction. A copy that was made before is left as it is.

        Raises:
            RunEnded: The generation is gone, or the run lost its projection.
        """
        plan, projection = await planned(self._engine, self._deployment, step)
        async with alone(self._engine, plan) as beat, self._engine.begin() as connection:
            copy = await locked(connection, plan)
            if copy.position is None:
                beat.show(doing="copying the rows", generation=plan.copies)
                await self._copy(connection, projection, plan, copy)
            done = await generations.get(connection, plan.projection, plan.generation)
        assert done is not None
        assert done.position is not None
        return Copied(position=done.position, rows=done.rows or 0)

    async def _copy(
        self, connection: AsyncConnection, projection: Projection, plan: Plan, copy: Generation
    ) -> None:
        source = await generations.get(connection, plan.projection, plan.copies or 0)
        if source is None or source.position is None:
            raise RunEnded(f"generation {plan.copies} of {plan.projection!r} is gone")
        rows = await snapshots.fill(connection, projection, copy, source)
        await add_indexes(connection, projection, copy, refers=plan.atomic)
        await generations.set_rows(connection, plan.projection, plan.generation, rows)
        # Locked at the end, not before: a lease cannot be renewed while it is locked.
        await leases.require(connection, plan.run_id)
