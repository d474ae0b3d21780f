"""Beginning a backfill or rebuild: the lease, the head, the generation to write, the partitions."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating, place
from refold.activities.shadow import add_indexes
from refold.engine.folding.poison_events import record_misfits
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.lifecycle.lease_standing import Executions
from refold.engine.planning import admission
from refold.engine.planning.auto_start import require_deployed
from refold.engine.planning.decision import Way, decide, refolded_to, require_rebuild, wants_backup
from refold.engine.planning.head import settled_head
from refold.engine.planning.key_selection import KeySelection, Selected
from refold.engine.planning.measurement import Work, measure
from refold.engine.planning.preview import preview
from refold.engine.step import Step
from refold.errors import InvalidRequest, RunEnded
from refold.messages.run.life import BeginRun
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.requests.runs import Approval
from refold.runtime.settings import Settings
from refold.store import dead_letters, generations, leases, partitions, runs, selected_keys
from refold.store.generations import BUILDING, RETAINED, Generation
from refold.store.pressure import Pressure
from refold.store.swap.swap import plan_swap, require_none_refused
from refold.store.tables import column_types, read_models
from refold.store.tables.trial import require_possible


class PlanningActivities:
    """The activity that begins a backfill or rebuild.

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
        self._keys = KeySelection(engine, registry, settings.tenant_path)

    @activity.defn
    async def begin_run(self, begin: BeginRun) -> Plan:
        """Takes the projection's lease and plans the run; a run that was begun finds its plan.

        A dry run takes no lease and writes nothing.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: The request cannot be carried out on what there is.
            InvalidProjection: PostgreSQL refuses the projection's table.
            SwapRefused: Something hangs on the live table that cannot move.
            PoisonEvent: An event's key does not fit.
            NotDeployed: The version that is to build itself is on other workers.
        """
        request = begin.request
        require_deployed(self._registry, request.projection, activity.info().workflow_id or "")
        await self._deployment.newest(request.projection)
        async with heartbeating(self._engine, begin.run_id) as beat:
            if not request.dry_run:
                beat.show(doing="taking the lease")
                known = await admission.begin(
                    self._engine,
                    self._executions,
                    request,
                    run_id=begin.run_id,
                    workflow_id=activity.info().workflow_id or "",
                    kind=begin.kind,
                )
                if known is not None:
                    return known
            return await self._plan(begin, beat)

    async def _plan(self, begin: BeginRun, beat: Step) -> Plan:
        request = begin.request
        async with self._engine.connect() as connection:
            live = await self._require_schema(connection, request.projection)
            active = await generations.active(connection, request.projection)
            there = await read_models.exists(
                connection, live, self._registry.get(request.projection).table.name
            )
            if active is not None and not there:
                require_rebuild(begin, active)
                active = None
            if active is not None and not begin.atomic:
                await self._deployment.version(request.projection, active.version)
            way = decide(begin, self._registry, active)
            self._keys.check(way.asked, request.tenant)
            makes_table = way.atomic or wants_backup(request, way)
            await _require_usable(connection, way.projection, live if makes_table else None)
            throttle = request.pacing(way.projection.backfill).throttle
            if throttle is not None:
                await Pressure(self._engine, throttle).reasons()  # so that it fails at once
            head = request.as_of
            if head is None:
                head = await settled_head(self._engine, active, beat)
            beat.show(doing="measuring what there is to do", head=head)
            if request.skip_events:
                await dead_letters.skip(
                    connection,
                    request.projection,
                    request.skip_events,
                    requested_by=request.requested_by,
                )
            found = await self._select(connection, begin, way, head, beat)
            if found is not None and not found.keys:
                way = way.with_nothing_selected()
            position = refolded_to(way, active, head)
            work = await measure(
                connection,
                request,
                way,
                position=position,
                head=head,
                found=found,
                letters_of=_number(active) if way.some_keys or not way.atomic else None,
            )
            highest = await generations.highest(connection, request.projection)
            policy = way.projection.backfill
            plan = Plan(
                run_id=begin.run_id,
                projection=way.projection.name,
                version=way.projection.version,
                generation=highest + 1 if way.atomic else _number(active),
                atomic=way.atomic,
                position=work.position,
                head=head,
                partitions=len(work.bounds or ()),
                max_concurrency=request.max_concurrency or policy.max_concurrency,
                batch_size=request.batch_size or policy.batch_size,
                total_events=sum(work.totals) + work.beyond,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                swap_patience_seconds=self._settings.swap_patience_seconds,
                note=await _note(connection, way, live, first=active is None),
                stale=request.as_of is not None,
                copies=_number(active) if way.atomic and way.some_keys else None,
                backup=highest + 1 if wants_backup(request, way) else None,
                rollback_on_failure=bool(request.rollback_on_failure) and not way.atomic,
                keep_backup=bool(request.create_backup),
                approval=request.approval or Approval.AUTO,
                max_changed_percent=request.max_changed_percent,
                max_removed_rows=request.max_removed_rows,
                selection=found.selection if found else None,
                selected_keys=found.keys if found else None,
                pacing=request.pacing(policy),
                poison=request.poison(policy),
            )
            shown = await preview(
                connection,
                way.projection,
                plan,
                active,
                exact=bool(request.dry_run),
                selected_events=found.events if found else None,
            )
            plan = plan.shown_as(shown)
            if request.dry_run:
                return plan  # what it wrote is rolled back
            known = await runs.get(connection, begin.run_id, lock=True)
            if known is not None and known.plan is not None:
                # Another attempt has planned meanwhile: the keys that it selected stand, not these.
                return Plan.model_validate(known.plan)
            if known is not None and known.ended_at is not None:
                # Nobody would remove the keys any more.
                raise RunEnded(f"run {begin.run_id} was ended while it was planned")
            await connection.commit()
            if found is not None:
                await selected_keys.analyze(connection)
        if plan.atomic or plan.backup is not None:
            require_none_refused(shown.refused, way.projection.table.fullname)
        return await self._record(begin, plan, way.projection, active, work)

    async def _select(
        self, connection: AsyncConnection, begin: BeginRun, way: Way, head: int, beat: Step
    ) -> Selected | None:
        """The keys that are repaired; None for all."""
        if not way.some_keys:
            return None
        return await self._keys.select(
            connection,
            way.projection,
            way.asked,
            run_id=begin.run_id,
            head=head,
            tenant=begin.request.tenant,
            poison=begin.request.poison(way.projection.backfill),
            beat=beat,
        )

    async def _require_schema(self, connection: AsyncConnection, name: str) -> str:
        """The schema of the live table, which must be there, and the one that is declared."""
        table = self._registry.get(name).table
        live = await read_models.live_schema(connection, self._registry.get(name))
        elsewhere = read_models.misplaced(self._registry.get(name), live)
        if elsewhere is not None:
            raise InvalidRequest(elsewhere)
        if not await read_models.schema_exists(connection, live):
            raise InvalidRequest(
                f"projection {name!r}: its table is {table.fullname}, expected schema {live!r} to "
                "be there: create it, or declare another one"
            )
        return live

    async def _record(
        self,
        begin: BeginRun,
        plan: Plan,
        projection: Projection,
        active: Generation | None,
        work: Work,
    ) -> Plan:
        """Writes the plan and makes the shadow, in one transaction: all of it or nothing.

        Returns:
            The plan that stands: another attempt's, if that was sooner.
        """
        async with self._engine.begin() as connection:
            await leases.require(connection, plan.run_id)
            sooner = await runs.planned(connection, plan.run_id)
            if sooner is not None:
                return Plan.model_validate(sooner)
            if plan.atomic:
                # Nothing to refold: following begins at the beginning.
                position = 0 if work.bounds is None else None
                shadow = await _create(connection, plan, projection, BUILDING, position)
                await read_models.create_shadow(connection, projection, shadow.schema_name)
                if work.bounds is None:  # a copy gets its indexes when it is filled
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
                await add_indexes(connection, projection, backup, refers=False)
                await connection.execute(
                    dead_letters.copied(projection.name, active.generation, backup.generation)
                )
            await record_misfits(connection, plan, work.misfits)
            if work.bounds is not None:
                await partitions.create(connection, plan.run_id, work.bounds, work.totals)
            await runs.set_plan(connection, plan.run_id, plan.model_dump(mode="json"))
            await announcements.started(connection, plan, begin.kind, begin.request)
        return plan


async def _require_usable(
    connection: AsyncConnection, projection: Projection, live: str | None
) -> None:
    """Looks at the column types and, when a table is made, whether it can be, by this role."""
    if (wrong := await column_types.unusable(connection, projection)) is not None:
        raise InvalidRequest(f"projection {projection.name!r}: {wrong}")
    if live is not None:
        lacks = await read_models.missing_rights(connection, live)
        require_none_refused(lacks, projection.table.fullname)
        await require_possible(connection, projection)


async def _note(connection: AsyncConnection, way: Way, live: str, *, first: bool) -> str | None:
    table = way.projection.table.name
    others = await read_models.others_named(connection, live, table) if first else []
    if not others:
        return way.note
    also = (
        f"it will stand in schema {live!r}; a table of its name is in {', '.join(others)}, too: "
        "declare the schema, if readers are to find it there"
    )
    return f"{way.note}; {also}" if way.note else also


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
