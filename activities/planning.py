"""Beginning a backfill or rebuild: the lease, the head, the generation to write, the partitions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities import announcing, leasing
from activities.heads import settled_head
from activities.heartbeat import Heartbeat, heartbeating
from activities.previewing import preview
from activities.shadowing import add_indexes
from refold.criteria import Criteria
from refold.errors import InvalidRequest
from refold.messages import BeginRun, Plan, Planned
from refold.projection import Projection
from refold.registry import Registry
from refold.requests import Approval, BackfillRequest
from refold.settings import Settings
from refold.source.log import count_events
from refold.source.slicing import Bounds, key_bounds, slice_totals
from refold.store import generations, leases, partitions, read_models, runs
from refold.store.generations import BUILDING, RETAINED, Generation
from refold.store.swap import plan_swap, require_none_refused

# A partition smaller than this is not worth an activity of its own.
_EVENTS_PER_PARTITION = 50_000


class PlanningActivities:
    """The activity that begins a backfill or rebuild.

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
    async def begin_run(self, begin: BeginRun) -> Planned:
        """Takes the projection's lease and plans the run; a run that was begun finds its plan.

        A dry run takes no lease and writes nothing.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: The request cannot be carried out on what there is.
            SwapRefused: Something hangs on the live table that cannot move.
            PoisonEvent: An event's key does not fit.
        """
        request = begin.request
        self._registry.get(request.projection)
        async with heartbeating(self._engine, begin.run_id) as beat:
            if not request.dry_run:
                beat.show(doing="taking the lease")
                known = await leasing.begin(
                    self._engine, request, run_id=begin.run_id, kind=begin.kind
                )
                if known is not None:
                    return known
            return await self._plan(begin, beat)

    async def _plan(self, begin: BeginRun, beat: Heartbeat) -> Planned:
        request = begin.request
        async with self._engine.connect() as connection:
            live = await self._require_schema(connection, request.projection)
            active = await generations.active(connection, request.projection)
            there = await read_models.exists(
                connection, live, self._registry.get(request.projection).table.name
            )
            if active is not None and not there:
                _require_rebuild(begin, active)
                active = None
            way = _decide(begin, self._registry, active)
            head = request.as_of
            if head is None:
                head = await settled_head(self._engine, active, beat)
            beat.show(doing="measuring what there is to do", head=head)
            position = _refolded_to(way, active, head)
            work = await self._measure(connection, request, way, position, head)
            highest = await generations.highest(connection, request.projection)
            policy = way.projection.backfill
            plan = Plan(
                run_id=begin.run_id,
                projection=way.projection.name,
                version=way.projection.version,
                generation=highest + 1 if way.aside else _number(active),
                atomic=way.aside,
                position=work.position,
                head=head,
                partitions=len(work.bounds or ()),
                max_concurrency=request.max_concurrency or policy.max_concurrency,
                batch_size=request.batch_size or policy.batch_size,
                total_events=sum(work.totals) + work.beyond,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                note=way.note,
                stale=request.as_of is not None,
                backup=highest + 1 if _wants_backup(request, way) else None,
                rollback_on_failure=bool(request.rollback_on_failure) and not way.aside,
                keep_backup=bool(request.create_backup),
                approval=request.approval or Approval.AUTO,
                max_changed_percent=request.max_changed_percent,
                max_removed_rows=request.max_removed_rows,
                pacing=request.pacing(policy),
                poison=request.poison(policy),
            )
            shown = await preview(
                connection, way.projection, plan, active, exact=bool(request.dry_run)
            )
        planned = Planned(plan=plan, preview=shown)
        if request.dry_run:
            return planned
        if plan.atomic or plan.backup is not None:
            require_none_refused(shown.refused, way.projection.table.fullname)
        await self._record(begin, planned, way.projection, active, work)
        return planned

    async def _require_schema(self, connection: AsyncConnection, name: str) -> str:
        """The schema of the live table, which must be there."""
        table = self._registry.get(name).table
        live = await read_models.live_schema(connection, self._registry.get(name))
        if not await read_models.schema_exists(connection, live):
            raise InvalidRequest(
                f"projection {name!r}: its table is {table.fullname}, expected schema {live!r} to "
                "be there: create it"
            )
        return live

    async def _measure(
        self,
        connection: AsyncConnection,
        request: BackfillRequest,
        way: _Way,
        position: int,
        head: int,
    ) -> _Work:
        projection = way.projection
        types = projection.event_types
        if way.incremental:
            return _Work(position, None, [0], await _events(connection, types, position, head))
        beyond = await _events(connection, types, position, head)
        if projection.key_paths is None:
            return _Work(position, None, [await _events(connection, types, 0, position)], beyond)
        slices = _slices(request, projection, position)
        bounds = await key_bounds(connection, projection, upto=position, slices=slices)
        totals = await slice_totals(connection, projection, bounds, upto=position)
        return _Work(position, bounds, totals, beyond)

    async def _record(
        self,
        begin: BeginRun,
        planned: Planned,
        projection: Projection,
        active: Generation | None,
        work: _Work,
    ) -> None:
        """Writes the plan and makes the shadow, in one transaction: all of it or nothing."""
        plan = planned.plan
        async with self._engine.begin() as connection:
            await leases.require(connection, plan.run_id)
            if plan.atomic:
                # Nothing to refold: following begins at the beginning.
                position = 0 if work.bounds is None else None
                shadow = await _create(connection, plan, projection, BUILDING, position)
                await read_models.create_shadow(connection, projection, shadow.schema_name)
                if work.bounds is None:
                    await add_indexes(connection, projection, shadow)
                # Now its columns can be looked at, too.
                swap = await plan_swap(connection, projection, shadow, active)
                require_none_refused(swap.attachments.refused, projection.table.fullname)
            elif plan.backup is not None:
                assert active is not None
                # Held, so that the copy and its checkpoint agree.
                held = await generations.hold_position(
                    connection, projection.name, active.generation
                )
                backup = await _create(connection, plan, projection, RETAINED, held)
                await read_models.create_copy(
                    connection, projection, backup.schema_name, source=active.schema_name
                )
                await add_indexes(connection, projection, backup)
            if work.bounds is not None:
                await partitions.create(connection, plan.run_id, work.bounds, work.totals)
            await runs.set_plan(connection, plan.run_id, planned.model_dump(mode="json"))
            await announcing.started(connection, plan, begin.kind, begin.request)


@dataclass
class _Way:
    """How a request is carried out."""

    projection: Projection
    aside: bool
    incremental: bool = False
    note: str | None = None


@dataclass
class _Work:
    """What there is to do: up to `position` by `bounds`, and what is beyond by following."""

    position: int
    bounds: Bounds | None
    totals: list[int]
    beyond: int


def _require_rebuild(begin: BeginRun, active: Generation) -> None:
    """Somebody has dropped the live table: it can only be built anew."""
    if not begin.atomic:
        raise InvalidRequest(
            f"projection {active.projection!r}: expected its live table to be there, it has been "
            "dropped: start a Rebuild"
        )


def _decide(begin: BeginRun, registry: Registry, active: Generation | None) -> _Way:
    """Which version folds, in place or aside, and a note when that was not asked for."""
    request, name = begin.request, begin.request.projection
    incremental = request.criteria is Criteria.INCREMENTAL_UPDATE
    newest = registry.get(name)
    if incremental and begin.atomic:
        raise InvalidRequest(
            "criteria: expected full_rebuild for an atomic run, got incremental_update: leave "
            "is_atomic out to bring the live table up to date"
        )
    if begin.atomic and request.as_of is not None:
        _require_reached(request.as_of, name, active)
        note = f"as of position {request.as_of}: it goes live without the events since"
        return _Way(newest, aside=True, note=note)
    if begin.atomic:
        return _Way(newest, aside=True)
    request.require_fitting(aside=False)
    if request.create_backup and newest.backfill.retained_generations == 0:
        raise InvalidRequest(
            "create_backup: expected a projection that keeps replaced generations, its "
            "retained_generations is 0: raise it, or leave create_backup out"
        )
    if active is None:
        note = "there is nothing to repair yet: built aside, swapped in"
        return _Way(newest, aside=True, note=note)
    live = registry.version(name, active.version)
    if live is None:
        known = ", ".join(str(version) for version in registry.versions(name))
        raise InvalidRequest(
            f"projection {name!r}: the active generation was built by version {active.version}, "
            f"registered is version {known}: start a Rebuild"
        )
    if live.key_paths is None and not incremental:
        note = "its key is a function and cannot be selected in SQL: built aside, swapped in"
        return _Way(live, aside=True, note=note)
    return _Way(live, aside=False, incremental=incremental)


def _require_reached(as_of: int, name: str, active: Generation | None) -> None:
    """A checkpoint is set back, not ahead: whoever follows it goes on from there."""
    if active is None or active.position is None:
        raise InvalidRequest(
            f"as_of: expected a read model with a checkpoint, {name!r} has none yet: start a "
            "Rebuild without as_of"
        )
    if as_of > active.position:
        raise InvalidRequest(
            f"as_of: expected at most the checkpoint of {name!r}, {active.position}, got {as_of}"
        )


def _refolded_to(way: _Way, active: Generation | None, head: int) -> int:
    """Up to where keys are refolded; from there on the generation is followed.

    A shadow is refolded to the live table's checkpoint, where the two are compared; or only to
    where it is asked to end. Not when the live table is far behind: following all the rest would
    take longer than refolding it.
    """
    live = active.position if active is not None else None
    if live is None:
        return head
    if way.aside and 2 * live < head:
        return head
    return min(live, head)


def _wants_backup(request: BackfillRequest, way: _Way) -> bool:
    return not way.aside and bool(request.create_backup or request.rollback_on_failure)


def _number(active: Generation | None) -> int:
    assert active is not None
    return active.generation


async def _create(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    status: str,
    position: int | None,
) -> Generation:
    made = await generations.create(
        connection,
        projection.name,
        version=plan.version,
        status=status,
        schema_name=None,
        table_name=projection.table.name,
        position=position,
        run_id=plan.run_id,
    )
    planned = plan.generation if plan.atomic else plan.backup
    assert made.generation == planned, "the lease keeps others from making generations"
    return made


def _slices(request: BackfillRequest, projection: Projection, upto: int) -> int:
    if projection.backfill.partitions is not None:
        return projection.backfill.partitions
    most = request.max_concurrency or projection.backfill.max_concurrency
    return max(1, min(most, -(-upto // _EVENTS_PER_PARTITION)))


async def _events(connection: AsyncConnection, types: list[str], after: int, upto: int) -> int:
    if upto <= after:
        return 0
    return await count_events(connection, types=types, after=after, upto=upto)
