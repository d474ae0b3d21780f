"""Beginning a run: its lease, the keys that a function makes, its plan.

A run that was begun before finds its plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding.pacing import Pace
from refold.engine.keying.computing import computing
from refold.engine.keying.slice_work import COMMITTED_AT_ONCE, SliceWork
from refold.engine.lifecycle.lease_standing import Executions
from refold.engine.lifecycle.plans import plan_of
from refold.engine.live.apart import Storage
from refold.engine.live.homecoming import Homecoming, IfLost, if_lost
from refold.engine.planning import admission
from refold.engine.planning.auto_start import require_deployed
from refold.engine.planning.backfill import BackfillPlanner
from refold.engine.planning.decision import as_declared
from refold.engine.planning.rollback import RollbackPlanner
from refold.engine.planning.snapshot import SnapshotPlanner
from refold.engine.step import Step
from refold.messages.run.life import BeginRollback, BeginRun, KeyedSegment, KeySegment
from refold.messages.run.plan import Plan, RunStep
from refold.messages.snapshots import BeginSnapshot
from refold.projection.declaration import Projection
from refold.projection.narrowed.sent_event import ReadsMore
from refold.projection.registry import Registry
from refold.requests.runs import Request
from refold.runtime.settings import Settings
from refold.runtime.temporal.search_attributes import Listing
from refold.source.port.sent import sent_to_key, warn_of
from refold.source.portions import stream
from refold.source.reader import in_position_order
from refold.store.sessions.takeover import take_over
from refold.store.side_keys import slices
from refold.store.side_keys.tables import analyze, side_table


class PlanningActivities(StepActivities):
    """The activities that begin runs.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the plans' times, segments' length, and where an event names its tenant.
        executions: Whether runs that hold a projection are alive.
        storage: Where live checkpoints are.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        registry: Registry,
        settings: Settings,
        executions: Executions,
        storage: Storage,
    ) -> None:
        super().__init__(engine, registry, settings.deployment_seconds)
        self._executions = executions
        self._segment_seconds = settings.segment_seconds
        self._registry = registry
        self._homecoming = Homecoming(engine, self._deployment, storage)
        self._backfills = BackfillPlanner(engine, self._deployment, settings)
        self._rollbacks = RollbackPlanner(engine, self._deployment, settings)
        self._snapshots = SnapshotPlanner(engine, self._deployment, settings)
        self.listing = Listing()

    @activity.defn
    async def begin_run(self, begin: BeginRun) -> Plan:
        """Takes the projection's lease and plans the run.

        A dry run takes no lease and writes nothing.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: The request cannot be carried out on what there is.
            InvalidProjection: PostgreSQL refuses the projection's table.
            SwapRefused: Something is attached to the live table that cannot move.
            PoisonEvent: An event's key does not fit.
            NotDeployed: The version that is to build itself is on other workers.
        """
        name = begin.request.projection
        require_deployed(self._registry, name, activity.info().workflow_id or "")
        await self._deployment.newest(name)
        if begin.request.dry_run:
            async with heartbeating(self._engine, begin.run_id) as beat:
                return await self._backfills.plan(begin, beat)
        return await self._begin(
            begin.kind,
            begin.run_id,
            begin.request,
            if_lost(as_declared(begin, self._registry)),
            lambda beat: self._backfills.plan(begin, beat),
        )

    @activity.defn
    async def compute_keys(self, segment: KeySegment) -> KeyedSegment:
        """Computes the next keys of a slice, for about ten seconds or until it is done.

        It goes on where the last committed batch of any attempt ended.

        Raises:
            PoisonEvent: An event that the key function cannot take, and that is not set aside.
            Fenced: Another attempt has taken the slice over.
            RunEnded: The run was ended from outside.
        """
        plan, projection = await self._planned(segment)
        try:
            return await self._compute(segment, plan, projection)
        except ReadsMore as more:
            warn_of(projection, more)
        return await self._compute(segment, plan, projection)

    async def _compute(
        self, segment: KeySegment, plan: Plan, projection: Projection
    ) -> KeyedSegment:
        side = side_table(projection, plan.run_id)
        low, high = plan.key_cuts[segment.slice : segment.slice + 2]
        async with (
            heartbeating(self._engine, plan.run_id) as beat,
            self._engine.connect() as reader,
            self._engine.connect() as writer,
        ):
            await take_over(self._engine, side.slices, slices.row_of(side, segment.slice))
            async with writer.begin():
                taken = await slices.take(writer, side, segment.slice, low)
                made = await computing(writer, plan, projection, sent_to_key(projection))
            if taken.done:
                return KeyedSegment(done=True, events=0)
            pace = Pace(self._engine, plan, segment.controls, beat)
            if not await pace.begin(writer):
                return KeyedSegment(done=False, events=0)
            statement = in_position_order(
                types=projection.event_types,
                after=taken.position,
                upto=high,
                since=projection.start_from,
                sent=made.sent,
            )
            clock = asyncio.get_running_loop().time
            end = clock() + self._segment_seconds
            work = SliceWork(writer, side, taken, made)
            most = pace.batch_size
            if not plan.limits(segment.controls).events_per_second:
                most = max(most, COMMITTED_AT_ONCE)
            async with stream(reader, statement, fetch=pace.batch_size, sent=made.sent) as chunks:
                pace.starts()
                async for texts in chunks:
                    await work.take(texts)
                    if work.taken_in < most and not work.is_slow:
                        continue
                    done = work.taken_in
                    told = await work.commit()
                    beat.show(doing="computing keys", slice=segment.slice, events=work.events)
                    goes_on = not pace.is_told(told) and await pace.wait(writer, done)
                    if not goes_on or clock() > end or activity.is_worker_shutdown():
                        return KeyedSegment(done=False, events=work.events)
            await work.commit(upto=high)
            return KeyedSegment(done=True, events=work.events)

    @activity.defn
    async def plan_with_keys(self, begin: BeginRun) -> Plan:
        """Makes a run's plan as a whole, once the keys that a function makes are computed.

        Returns:
            The plan; the one before, if keys have to be computed again, as a crash of PostgreSQL
            has taken them.

        Raises:
            RunEnded: The run was ended meanwhile.
            InvalidRequest: What there is has changed, and the request cannot be carried out on it.
            SwapRefused: Something is attached to the live table that cannot move.
            PoisonEvent: One more event has no key than may be set aside.
        """
        first = await plan_of(self._engine, RunStep(run_id=begin.run_id))
        if not first.awaits_keys:
            return first
        projection = await self._deployment.planned(first)
        side = side_table(projection, begin.run_id)
        async with heartbeating(self._engine, begin.run_id) as beat:
            async with self._engine.begin() as connection:
                if not await slices.are_done(connection, side, first.key_slices):
                    return first
                await analyze(connection, side)
            return await self._backfills.plan(begin, beat, first)

    @activity.defn
    async def begin_rollback(self, begin: BeginRollback) -> Plan:
        """Takes the projection's lease and plans the rollback.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: There is no such generation or snapshot to go back to, or the handlers
                of its version are not registered.
            SwapRefused: Something is attached to the live table that cannot move.
        """
        await self._deployment.any_version(begin.request.projection)
        return await self._begin(
            "Rollback",
            begin.run_id,
            begin.request,
            IfLost.FORGET,
            lambda beat: self._rollbacks.plan(begin, beat),
        )

    @activity.defn
    async def begin_snapshot(self, begin: BeginSnapshot) -> Plan:
        """Takes the projection's lease and plans the copy.

        Raises:
            UnknownProjection: The request names none that is registered.
            ProjectionBusy: Another run writes the projection.
            InvalidRequest: There is nothing that can be copied.
        """
        await self._deployment.any_version(begin.request.projection)
        return await self._begin(
            "Snapshot",
            begin.run_id,
            begin.request,
            IfLost.REFUSE,
            lambda beat: self._snapshots.plan(begin),
        )

    async def _begin(
        self,
        kind: str,
        run_id: str,
        request: Request,
        lost: IfLost,
        plan: Callable[[Step], Awaitable[Plan]],
    ) -> Plan:
        """What all runs do first; one that was begun before, by another attempt, has its plan."""
        async with heartbeating(self._engine, run_id) as beat:
            beat.show(doing="taking the lease")
            known = await admission.begin(
                self._engine,
                self._executions,
                request,
                run_id=run_id,
                workflow_id=activity.info().workflow_id or "",
                kind=kind,
            )
            if known is None:
                # While the lease is held, nobody hands it out again.
                await self._homecoming.bring(request.projection, lost)
                known = await plan(beat)
        listed = await self.listing.is_there(activity.client)
        return known.model_copy(update={"is_listed": listed})
