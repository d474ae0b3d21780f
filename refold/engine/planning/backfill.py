"""Planning a backfill or rebuild: the head, the generation to write, the keys, the partitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.folding.poison_events import record_misfits
from refold.engine.keying.possible import is_written, key_cuts, why_unwritten
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.planning.decision import (
    as_declared,
    decide,
    follows_only,
    for_no_keys,
    note_of_dates,
    note_of_no_keys,
    note_of_no_way_back,
    note_of_unknown_keys,
    refolded_to,
    require_rebuild,
    wants_backup,
    wants_keys,
    without_idle_dates,
)
from refold.engine.planning.head import settled_head
from refold.engine.planning.key_selection import KeySelection
from refold.engine.planning.measurement import count_between, measure, slices_of
from refold.engine.planning.new_tables import make_tables
from refold.engine.planning.planner import Planner, standing
from refold.engine.planning.preview import preview
from refold.engine.sql.trial import require_select
from refold.engine.step import Step
from refold.errors import InvalidRequest, RunEnded
from refold.messages.run.life import BeginRun
from refold.messages.run.plan import Plan
from refold.messages.run.selection import Selection
from refold.projection.declaration import Projection
from refold.projection.sql.declaration import batch_size_of
from refold.requests.runs import Approval, BackfillRequest
from refold.runtime.settings import Settings
from refold.source.selection import fixed
from refold.store import dead_letters, generations, partitions, runs, selected_keys
from refold.store.generations import Generation
from refold.store.pressure import Pressure
from refold.store.side_keys.tables import create, side_table
from refold.store.swap.swap import require_none_refused
from refold.store.tables import column_types, read_models
from refold.store.tables.trial import require_possible


class BackfillPlanner(Planner):
    """Plans backfills and rebuilds; see `Planner`."""

    def __init__(self, engine: AsyncEngine, deployment: Deployment, settings: Settings) -> None:
        super().__init__(engine, deployment, settings)
        self._keys = KeySelection(engine, deployment.registry, settings.tenant_path)

    async def plan(self, begin: BeginRun, beat: Step, first: Plan | None = None) -> Plan:
        """Makes a run's plan, and records it unless it is for a dry run, which writes nothing.

        Where the key is a function, the first plan only says that keys have to be computed. Once
        they are, it is made as a whole, which begins with that `first` plan.

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
            why = await why_unwritten(connection)
            projection, done, note = decide(without_idle_dates(asked), self._registry, active, why)
            side = None if first is None else side_table(projection, begin.run_id)
            awaits = side is None and not follows_only(done) and is_written(projection, why)
            self._keys.check(asked)
            policy = projection.backfill
            poison, pacing = request.poison(policy), request.pacing(policy)
            await _require_usable(
                connection, projection, live if done.is_atomic or wants_backup(done) else None
            )
            if pacing.throttle is not None:
                await Pressure(self._engine, pacing.throttle).reasons()  # so that it fails at once
            head = request.as_of if first is None else first.keys_upto
            if head is None:
                head = await settled_head(self._engine, active, beat)
            beat.show(doing="measuring what there is to do", head=head)
            await _skip(connection, request)
            chosen = _Chosen()
            if wants_keys(done) and not awaits:
                upto = refolded_to(done, active, head) if done.missing else head
                chosen = await self._choose(
                    *(connection, projection, await fixed(connection, done, head=upto), beat),
                    run_id=begin.run_id,
                    poison=poison,
                    live=live,
                    side=side,
                )
            if chosen.keys == 0:
                done, note = for_no_keys(done, request), note_of_no_keys(done)
            atomic, some = bool(done.is_atomic), wants_keys(done)
            position = refolded_to(done, active, head)
            letters_of = _number(active) if some or not atomic else None
            bounds, totals, misfits = await measure(
                connection,
                done,
                projection,
                position=position,
                run_id=begin.run_id,
                keys=chosen.keys,
                poison=poison,
                letters_of=letters_of,
                side=side,
            )
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
                total_events=sum(totals)
                + await count_between(connection, projection, position, head),
                heartbeat_seconds=self._settings.heartbeat_timeout_seconds,
                swap_patience_seconds=self._settings.swap_patience_seconds,
                note=await _with_others(
                    connection,
                    [
                        note,
                        note_of_dates(asked),
                        note_of_no_way_back(self._registry, projection, active) if atomic else None,
                        note_of_unknown_keys(done) if awaits and request.dry_run else None,
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
                selection=chosen.selection,
                selected_keys=chosen.keys,
                pacing=pacing,
                poison=poison,
                key_cuts=await _cuts(connection, done, projection, head, first, awaits=awaits),
                is_keyed=first is not None,
                letters_of=letters_of,
            )
            shown = await preview(
                connection,
                projection,
                plan,
                active,
                exact=bool(request.dry_run),
                selected_events=chosen.events,
            )
            plan = plan.shown_as(shown)
            if request.dry_run:
                return plan  # what it wrote is rolled back
            sooner = await _planned_meanwhile(connection, plan)
            if sooner is not None:
                return sooner
            await connection.commit()
            if chosen.selection is not None:
                await selected_keys.analyze(connection)
        if plan.atomic or plan.backup is not None:
            require_none_refused(shown.refused, projection.table.fullname)

        async def write(connection: AsyncConnection) -> None:
            if awaits:
                await create(connection, side_table(projection, plan.run_id))
                return
            await make_tables(connection, plan, projection, active, loaded=bounds is None)
            await record_misfits(connection, plan, misfits)
            if bounds is not None:
                await partitions.create(connection, plan.run_id, bounds, totals)

        return await self._record(plan, begin.kind, asked, write)

    async def _choose(
        self,
        connection: AsyncConnection,
        projection: Projection,
        selection: Selection,
        beat: Step,
        **how: Any,
    ) -> _Chosen:
        beat.show(doing="selecting keys", selection=selection.model_dump(mode="json"))
        events = await self._keys.select(connection, projection, selection, **how)
        return _Chosen(selection, events, await selected_keys.count(connection, how["run_id"]))

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


async def _planned_meanwhile(connection: AsyncConnection, plan: Plan) -> Plan | None:
    """The plan of another attempt: the keys that it selected stand, not those of this one.

    Raises:
        RunEnded: The run has ended: nobody would remove the keys any more.
    """
    known = await runs.get(connection, plan.run_id, lock=True)
    sooner = None if known is None else standing(known.plan, plan)
    if sooner is None and known is not None and known.ended_at is not None:
        raise RunEnded(f"run {plan.run_id} was ended while it was planned")
    return sooner


@dataclass
class _Chosen:
    """Which keys are repaired, if not all.

    Attributes:
        selection: Which events name them.
        events: How many events these are.
        keys: How many keys they name.
    """

    selection: Selection | None = None
    events: int | None = None
    keys: int | None = None


async def _cuts(
    connection: AsyncConnection,
    done: BackfillRequest,
    projection: Projection,
    head: int,
    first: Plan | None,
    *,
    awaits: bool,
) -> list[int]:
    """The slices of the log whose keys are computed, or have been."""
    if first is not None:
        return first.key_cuts
    if not awaits:
        return []
    return await key_cuts(connection, head=head, slices=slices_of(done, projection, head))
