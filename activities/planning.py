"""Beginning a run: the lease, the head, the generation to write, the partitions."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity
from temporalio.client import Client

from activities.cleanup import give_up, is_alive
from activities.heartbeat import Heartbeat, heartbeating
from refold.errors import InvalidRequest, ProjectionBusy
from refold.messages import BackfillRequest, BeginRun, Criteria, Plan
from refold.projection import Projection
from refold.registry import Registry
from refold.settings import Settings
from refold.source.head import SettledHead
from refold.source.log import count_events
from refold.source.slicing import Bounds, key_bounds, slice_totals
from refold.store import generations, leases, partitions, read_models, runs
from refold.store.generations import Generation
from refold.store.swap import refuse_attached

# A partition smaller than this is not worth an activity of its own.
_EVENTS_PER_PARTITION = 50_000


class PlanningActivities:
    """Activities that begin a run.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the heartbeat timeout.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, settings: Settings) -> None:
        self._engine = engine
        self._registry = registry
        self._settings = settings

    @activity.defn
    async def begin_run(self, begin: BeginRun) -> Plan:
        """Takes the projection's lease and plans the run; a run that was begun finds its plan.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: The request cannot be carried out on what there is.
            SwapRefused: Something hangs on the live table.
            PoisonEvent: An event's key does not fit.
        """
        projection = self._registry.get(begin.request.projection)
        async with heartbeating(self._engine, begin.run_id) as beat:
            beat.show(doing="taking the lease")
            await self._take_lease(begin)
            async with self._engine.begin() as connection:
                run = await runs.begin(
                    connection,
                    run_id=begin.run_id,
                    projection=projection.name,
                    kind=begin.kind,
                    workflow_id=activity.info().workflow_id or "",
                    request=begin.request.model_dump(mode="json", exclude_none=True),
                )
            if run.plan is not None:
                return Plan.model_validate(run.plan)
            return await self._plan(begin, projection, beat)

    # -- the lease ---------------------------------------------------------------------------

    async def _take_lease(self, begin: BeginRun) -> None:
        client, info = activity.client(), activity.info()
        while not await self._acquire(begin, info):
            async with self._engine.connect() as connection:
                lease = await leases.holder(connection, begin.request.projection)
            if lease is None:
                continue
            await self._replace(client, lease)

    async def _acquire(self, begin: BeginRun, info: activity.Info) -> bool:
        async with self._engine.begin() as connection:
            return await leases.acquire(
                connection,
                begin.request.projection,
                run_id=begin.run_id,
                workflow_id=info.workflow_id or "",
                namespace=info.workflow_namespace or info.namespace,
            )

    async def _replace(self, client: Client, lease: leases.Lease) -> None:
        if await is_alive(client, lease):
            since = f"{lease.acquired_at:%Y-%m-%d %H:%M:%S %Z}"
            raise ProjectionBusy(lease.projection, lease.workflow_id, lease.run_id, since)
        await give_up(self._engine, lease)

    # -- the plan ----------------------------------------------------------------------------

    async def _plan(self, begin: BeginRun, projection: Projection, beat: Heartbeat) -> Plan:
        async with self._engine.connect() as connection:
            active = await generations.active(connection, projection.name)
            atomic, note = _decide(begin, projection, active)
            if atomic:
                await refuse_attached(connection, projection)
            head = await self._settled_head(active, beat)
            if begin.request.criteria is Criteria.INCREMENTAL_UPDATE and not atomic:
                assert active is not None
                bounds, totals = None, [await _behind(connection, projection, active, head)]
            elif projection.key_paths is None:
                bounds = None
                totals = [await count_events(connection, types=projection.event_types, upto=head)]
            else:
                upto = head if atomic or active is None else active.position or 0
                beat.show(doing="cutting the keys into partitions", position=upto)
                slices = _slices(begin.request, projection, upto)
                bounds = await key_bounds(connection, projection, upto=upto, slices=slices)
                totals = await slice_totals(connection, projection, bounds, upto=upto)
        policy = projection.backfill
        numbers = {
            "run_id": begin.run_id,
            "projection": projection.name,
            "version": projection.version,
            "atomic": atomic,
            "position": head,
            "partitions": len(bounds or ()),
            "max_concurrency": begin.request.max_concurrency or policy.max_concurrency,
            "batch_size": begin.request.batch_size or policy.batch_size,
            "total_events": sum(totals),
            "heartbeat_seconds": self._settings.heartbeat_timeout_seconds,
            "note": note,
        }
        return await self._record(numbers, projection, active, bounds, totals)

    async def _settled_head(self, active: Generation | None, beat: Heartbeat) -> int:
        known = active.position if active is not None else None
        head = SettledHead(known or 0)
        # Head and locks are looked up one after the other, each in a fresh snapshot.
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            return await head.wait(
                connection,
                waiting=lambda writers: beat.show(
                    doing="waiting for open transactions that may still append",
                    writers=[str(writer) for writer in writers],
                ),
                # Somewhere settled to begin with is good enough; from nothing there is no choice.
                seconds=5 if known else None,
            )

    async def _record(
        self,
        numbers: dict[str, Any],
        projection: Projection,
        active: Generation | None,
        bounds: Bounds | None,
        totals: list[int],
    ) -> Plan:
        """Writes the plan and makes the shadow, in one transaction: all of it or nothing."""
        async with self._engine.begin() as connection:
            await leases.require(connection, numbers["run_id"])
            if numbers["atomic"]:
                shadow = await generations.create(
                    connection,
                    projection.name,
                    version=projection.version,
                    status=generations.BUILDING,
                    schema_name=None,
                    table_name=projection.table.name,
                    # Nothing to refold: following begins at the beginning.
                    position=0 if bounds is None else None,
                    run_id=numbers["run_id"],
                )
                await read_models.create_shadow(connection, projection, shadow.schema_name)
                if bounds is None:
                    await read_models.add_indexes(connection, projection, shadow.schema_name)
                plan = Plan(**numbers, generation=shadow.generation)
            else:
                assert active is not None
                plan = Plan(**numbers, generation=active.generation)
            if bounds is not None:
                await partitions.create(connection, plan.run_id, bounds, totals)
            await runs.set_plan(connection, plan.run_id, plan.model_dump(mode="json"))
        return plan


def _decide(
    begin: BeginRun, projection: Projection, active: Generation | None
) -> tuple[bool, str | None]:
    """Whether to build a shadow and swap it in, and a note when that was not asked for."""
    incremental = begin.request.criteria is Criteria.INCREMENTAL_UPDATE
    if active is None:
        note = None if begin.atomic else "there is nothing to repair yet: built aside, swapped in"
        return True, note
    if incremental and begin.atomic:
        raise InvalidRequest(
            "criteria: expected full_rebuild for an atomic run, got incremental_update: leave "
            "is_atomic out to bring the live table up to date"
        )
    if begin.atomic:
        return True, None
    if active.version != projection.version:
        raise InvalidRequest(
            f"projection {projection.name!r}: the active generation was built by version "
            f"{active.version}, the registered version is {projection.version}: start a Rebuild"
        )
    if projection.key_paths is None and not incremental:
        return True, "its key is a function and cannot be selected in SQL: built aside, swapped in"
    return False, None


def _slices(request: BackfillRequest, projection: Projection, upto: int) -> int:
    if projection.backfill.partitions is not None:
        return projection.backfill.partitions
    most = request.max_concurrency or projection.backfill.max_concurrency
    return max(1, min(most, -(-upto // _EVENTS_PER_PARTITION)))


async def _behind(
    connection: AsyncConnection, projection: Projection, active: Generation, head: int
) -> int:
    return await count_events(
        connection, types=projection.event_types, after=active.position or 0, upto=head
    )
