"""Planning a backfill or rebuild: the head, the generation to write, the keys, the partitions."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.cutover.indexes import add_indexes
from refold.engine.folding.poison_events import record_misfits
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.planning.decision import (
    as_declared,
    decide,
    for_no_keys,
    note_of_dates,
    note_of_no_keys,
    note_of_no_way_back,
    refolded_to,
    require_rebuild,
    wants_backup,
    wants_keys,
    without_idle_dates,
)
from refold.engine.planning.head import settled_head
from refold.engine.planning.key_selection import KeySelection
from refold.engine.planning.measurement import count_between, measure
from refold.engine.planning.planner import Planner
from refold.engine.planning.preview import preview
from refold.engine.sql.trial import require_select
from refold.engine.step import Step
from refold.errors import InvalidRequest, RunEnded
from refold.messages.run.life import BeginRun
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import batch_size_of
from refold.requests.runs import Approval, BackfillRequest
from refold.runtime.settings import Settings
from refold.source.port.current import event_source
from refold.source.selection import fixed
from refold.store import (
    dead_letters,
    generations,
    partitions,
    runs,
    selected_keys,
)
from refold.store.gaps import late_events
from refold.store.generations import BUILDING, RETAINED, Generation
from refold.store.pressure import Pressure
from refold.store.swap.swap import plan_swap, require_none_refused
from refold.store.tables import column_types, read_models
from refold.store.tables.trial import require_possible


class BackfillPlanner(Planner):
    """Plans backfills and rebuilds; see `Planner`."""

    def __init__(self, engine: AsyncEngine, deployment: Deployment, settings: Settings) -> None:
        super().__init__(engine, deployment, settings)
        self._keys = KeySelection(engine, deployment.registry, settings.tenant_path)

    async def plan(self, begin: BeginRun, beat: Step) -> Plan:
        """Makes a run's plan, and records it unless it is for a dry run, which writes nothing.

        Raises:
            UnknownProjection: The request names none that is registered.
            InvalidRequest: The request cannot be carried out on what there is.
            InvalidProjection: PostgreSQL refuses the projection's table.
            SwapRefused: Something is attached to the live table that cannot move.
            PoisonEvent: An event's key does not fit.
            RunEnded: The run was ended meanwhile.
        """
        request = begin.request
        async with self._engine.connect() as connection:
            live = await self._require_schema(connection, request.projection)
            active = await self._active(connection, begin, live)
            asked = as_declared(begin, self._registry)
            projection, done, note = decide(without_idle_dates(asked), self._registry, active)
            self._keys.check(asked)
            policy = projection.backfill
            poison, pacing = request.poison(policy), request.pacing(policy)
            makes_table = done.is_atomic or wants_backup(done)
            await _require_usable(connection, projection, live if makes_table else None)
            if pacing.throttle is not None:
                await Pressure(self._engine, pacing.throttle).reasons()  # so that it fails at once
            head = request.as_of
            if head is None:
                head = await settled_head(self._engine, active, beat)
            beat.show(doing="measuring what there is to do", head=head)
            await _skip(connection, request)
            selection, selected_events, keys = None, None, None
            if wants_keys(done):
                upto = refolded_to(done, active, head) if done.missing else head
                selection = await fixed(connection, done, head=upto)
                beat.show(doing="selecting keys", selection=selection.model_dump(mode="json"))
                selected_events = await self._keys.select(
                    connection,
                    projection,
                    selection,
                    run_id=begin.run_id,
                    poison=poison,
                    live=live,
                )
                keys = await selected_keys.count(connection, begin.run_id)
            if keys == 0:
                done, note = for_no_keys(done, request), note_of_no_keys(done)
            atomic, some = bool(done.is_atomic), wants_keys(done)
            position = refolded_to(done, active, head)
            bounds, totals, misfits = await measure(
                connection,
                done,
                projection,
                position=position,
                run_id=begin.run_id,
                keys=keys,
                poison=poison,
                letters_of=_number(active) if some or not atomic else None,
            )
            beyond = await count_between(connection, projection, position, head)
            highest = await generations.highest(connection, request.projection)
            plan = Plan(
                run_id=begin.run_id,
                projection=projection.name,
                version=projection.version,
                generation=highest + 1 if atomic else _number(active),
                atomic=atomic,
                position=position,
                head=head,
                partitions=len(bounds or ()),
                max_concurrency=request.max_concurrency or policy.max_concurrency,
                batch_size=request.batch_size or batch_size_of(projection),
                total_events=sum(totals) + beyond,
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                swap_patience_seconds=self._settings.swap_patience_seconds,
                note=await _with_others(
                    connection,
                    [
                        note,
                        note_of_dates(asked),
                        note_of_no_way_back(self._registry, projection, active) if atomic else None,
                    ],
                    projection,
                    live if active is None else None,
                ),
                stale=request.as_of is not None,
                copies=_number(active) if atomic and some else None,
                backup=highest + 1 if wants_backup(done) else None,
                rollback_on_failure=bool(done.rollback_on_failure) and not atomic,
                keep_backup=bool(done.create_backup),
                approval=request.approval or Approval.AUTO,
                max_changed_percent=request.max_changed_percent,
                max_removed_rows=request.max_removed_rows,
                selection=selection,
                selected_keys=keys,
                pacing=pacing,
                poison=poison,
            )
            shown = await preview(
                connection,
                projection,
                plan,
                active,
                exact=bool(request.dry_run),
                selected_events=selected_events,
            )
            plan = plan.shown_as(shown)
            if request.dry_run:
                return plan  # what it wrote is rolled back
            sooner = await _planned_meanwhile(connection, begin.run_id)
            if sooner is not None:
                return sooner
            await connection.commit()
            if selection is not None:
                await selected_keys.analyze(connection)
        if plan.atomic or plan.backup is not None:
            require_none_refused(shown.refused, projection.table.fullname)

        async def write(connection: AsyncConnection) -> None:
            await _make_tables(connection, plan, projection, active, loaded=bounds is None)
            await record_misfits(connection, plan, misfits)
            if bounds is not None:
                await partitions.create(connection, plan.run_id, bounds, totals)

        return await self._record(plan, begin.kind, asked, write)

    async def _active(
        self, connection: AsyncConnection, begin: BeginRun, live: str
    ) -> Generation | None:
        """What readers query now; None for nothing, or for a table that somebody has dropped."""
        name = begin.request.projection
        active = await generations.active(connection, name)
        there = await read_models.exists(connection, live, self._registry.get(name).table.name)
        if active is not None and not there:
            require_rebuild(begin, active)
            return None
        if active is not None and not begin.atomic:
            await self._deployment.version(name, active.version)
        return active

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
        await require_select(connection, projection)


async def _with_others(
    connection: AsyncConnection,
    notes: list[str | None],
    projection: Projection,
    live: str | None,
) -> str | None:
    """The notes, and what else has the name of a table that is made in a schema; None: in none."""
    others = []
    if live is not None:
        others = await read_models.others_named(connection, live, projection.table.name)
    if others:
        notes = [
            *notes,
            f"it will stand in schema {live!r}; a table of its name is in {', '.join(others)}, "
            "too: declare the schema, if readers are to find it there",
        ]
    return "; ".join(filter(None, notes)) or None


def _number(active: Generation | None) -> int:
    assert active is not None
    return active.generation


async def _skip(connection: AsyncConnection, request: BackfillRequest) -> None:
    if request.skip_events:
        await dead_letters.skip(
            connection,
            request.projection,
            request.skip_events,
            requested_by=request.requested_by,
        )


async def _planned_meanwhile(connection: AsyncConnection, run_id: str) -> Plan | None:
    """The plan of another attempt: the keys that it selected stand, not those of this one.

    Raises:
        RunEnded: The run has ended: nobody would remove the keys any more.
    """
    known = await runs.get(connection, run_id, lock=True)
    if known is not None and known.plan is not None:
        return Plan.model_validate(known.plan)
    if known is not None and known.ended_at is not None:
        raise RunEnded(f"run {run_id} was ended while it was planned")
    return None


async def _make_tables(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    active: Generation | None,
    *,
    loaded: bool,
) -> None:
    """Makes the shadow of an atomic run, or the backup of one in place, if it has any.

    A shadow that nothing is refolded into is loaded as it is: following begins at the beginning.
    """
    if plan.atomic:
        await _make_shadow(connection, plan, projection, active, loaded=loaded)
    elif plan.backup is not None:
        assert active is not None
        await _make_backup(connection, plan, projection, active)


async def _make_shadow(
    connection: AsyncConnection,
    plan: Plan,
    projection: Projection,
    active: Generation | None,
    *,
    loaded: bool,
) -> None:
    begin = event_source().before if loaded else None
    shadow = await _create(connection, plan, projection, BUILDING, begin)
    if plan.copies is None:  # nothing was read for it yet
        newest = await late_events.newest(connection, event_source().name)
        await late_events.set_late_to(connection, shadow.projection, shadow.generation, newest)
    await read_models.create_shadow(connection, projection, shadow.schema_name)
    if loaded:  # a copy gets its indexes when it is filled
        await add_indexes(connection, projection, shadow)
    # Now its columns can be looked at, too.
    swap = await plan_swap(connection, projection, shadow, active)
    require_none_refused(swap.attachments.refused, projection.table.fullname)


async def _make_backup(
    connection: AsyncConnection, plan: Plan, projection: Projection, active: Generation
) -> None:
    # Held, so that the copy and its checkpoint agree.
    held = await generations.hold_position(connection, projection.name, active.generation)
    backup = await _create(connection, plan, projection, RETAINED, held)
    await read_models.create_copy(
        connection, projection, backup.schema_name, source=active.schema_name
    )
    await add_indexes(connection, projection, backup, refers=False)
    await connection.execute(
        dead_letters.copied(projection.name, active.generation, backup.generation)
    )


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
