"""A live projection: the active generation follows the log as events come."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding.follower import WINDOW_PER_EVENT, Follower, take
from refold.engine.folding.target_wait import TargetWait
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.deployment import Deployment
from refold.engine.live.apart import Apart, Storage, Taken
from refold.engine.live.late_events import LateEvents, record
from refold.engine.live.unfollowed import wants_rebuild, why_not
from refold.engine.planning import auto_start
from refold.engine.step import Step
from refold.engine.strides.ahead import Ahead, reading_ahead
from refold.engine.strides.stride import strides_of
from refold.errors import CheckpointLost, Fenced, RunEnded, TargetBehind
from refold.messages.live import RECENT, LiveReport, LiveSegment, LiveStatus
from refold.messages.recorded_event import RecordedEvent, brief
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.projection.sql.declaration import followed_at_once
from refold.requests.poison_policy import Poison
from refold.runtime.database import autocommit
from refold.runtime.settings import PATIENCE_SECONDS
from refold.runtime.telemetry import batch
from refold.runtime.temporal.search_attributes import Listing
from refold.source.head import SettledHead
from refold.source.wakeups import Bell, listening
from refold.store import generations, schema, system_events
from refold.store.generations import ACTIVE, Generation
from refold.store.sessions.takeover import take_over
from refold.store.snapshots.listing import newest_first
from refold.system_events.events import (
    ProjectionCheckpointRestored,
    ProjectionStarted,
)

# How often it looks for events when nobody notifies: one look is one look-up in an index.
_LOOK_SECONDS = 0.05
# It looks this often while a transaction is open that may still append, as most of these end within
# moments; and for some seconds after an event has come, as more may follow.
_SOON_SECONDS = 0.02
_BUSY_SECONDS = 2.0
# Applied events are reported within this time, however long the segment was to be.
_TELL_SECONDS = 10.0
# How long a segment is whose earlier attempt has failed.
_AGAIN_SECONDS = 2.0
# A projection that has been behind for longer than this is catching up; for less, it is live.
_LAG_SECONDS = 1.0
# When the last step of a backfill has taken the checkpoint over, it is given time to finish.
_YIELD_SECONDS = 2.0


class LiveActivities(StepActivities):
    """The activity that follows a projection's active generation.

    Args:
        engine: The database.
        registry: The projections.
        storage: Where live checkpoints are.
        patience: See `StepActivities`.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        registry: Registry,
        storage: Storage,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        super().__init__(engine, registry, patience)
        self._storage = storage
        self._listing = Listing()

    @activity.defn
    async def follow_live(self, segment: LiveSegment) -> LiveReport:
        """Applies events as they come, for so many seconds, or until there is nothing to follow.

        It gives way to a swap, and follows the new generation then. It gives way to a backfill in
        place, too. An event whose row refers to a read model that is behind is not applied yet;
        the report and the heartbeat say what it waits for.

        Raises:
            UnknownProjection: The projection is not registered with any worker.
            NotOnThisWorker: It is not registered with this worker, or not in the live version.
            PoisonEvent: A handler cannot take an event.
            CheckpointStoreFailed: The store that keeps the checkpoint fails.
        """
        await self._deployment.any_version(segment.projection)
        looking = autocommit(self._engine)
        async with (
            heartbeating(self._engine, activity.info().workflow_run_id or "") as beat,
            looking.connect() as looker,
            self._engine.connect() as writer,
            listening(looker) as bell,
            reading_ahead(self._engine) as ahead,
        ):
            live = _Live(
                *(self._engine, self._deployment, self._storage, segment),
                looker=looker,
                writer=writer,
                ahead=ahead,
            )
            report = await live.follow(bell, beat)
        listed = await self._listing.is_there(activity.client)
        return report.model_copy(update={"is_listed": listed})


class _Live:
    """One segment of following."""

    def __init__(
        self,
        engine: AsyncEngine,
        deployment: Deployment,
        storage: Storage,
        segment: LiveSegment,
        *,
        looker: AsyncConnection,
        writer: AsyncConnection,
        ahead: Ahead,
    ) -> None:
        self._engine = engine
        self._registry = deployment.registry
        self._deployment = deployment
        self._storage = storage
        # The checkpoint, when it is not beside the rows.
        self._apart: Apart | None = None
        self._segment = segment
        self._name = segment.projection
        self._looker = looker
        self._writer = writer
        self._ahead = ahead
        self._head = SettledHead()
        self._target = TargetWait()
        self._events = 0
        self._late = LateEvents()
        self._lost: str | None = None

    async def follow(self, bell: Bell, beat: Step) -> LiveReport:
        clock = asyncio.get_running_loop().time
        seconds = self._segment.seconds
        if activity.info().attempt > 1:  # so that people soon know that it works again
            seconds = min(seconds, _AGAIN_SECONDS)
        end = clock() + seconds
        await self._record_start()
        follower: Follower | None = None
        busy_until = 0.0
        behind_since: float | None = None
        while True:
            if follower is None:
                follower = await self._take_until(end)
                if follower is None:
                    return await self._nothing_to_follow()
            follower = await self._see_to_late_events(follower)
            if follower is None:
                continue
            behind = follower.position < await self._head.poll(self._looker)
            # Events that have just been appended are no lag to speak of.
            lagging = behind_since is not None and clock() - behind_since > _LAG_SECONDS
            behind_since = None if not behind else behind_since or clock()
            if clock() >= end or activity.is_worker_shutdown():
                return await self._report(follower, behind=behind and lagging)
            if lagging and not behind:  # so that people know at once that it has caught up
                return await self._report(follower, behind=False)
            # The checkpoint may have been moved by this follower, a backfill in place, or a swap.
            self._target.reached(follower.position)
            beat.show(
                position=follower.position,
                head=self._head.position,
                waiting_for=self._target.waiting_for,
            )
            if behind:
                follower = await self._apply(follower)
                busy_until = clock() + _BUSY_SECONDS
                if self._events or self._late.done.events:
                    end = min(end, clock() + _TELL_SECONDS)
            else:
                soon = self._head.waiting_for or clock() < busy_until
                pause = _SOON_SECONDS if soon else _LOOK_SECONDS
                await bell.wait(min(pause, max(0.0, end - clock())))

    async def _take_until(self, end: float) -> Follower | None:
        while True:
            try:
                return await self._take()
            except CheckpointLost as lost:
                self._lost = str(lost)
                return None
            except Fenced:  # as a rule a run is just bringing the checkpoint home
                if asyncio.get_running_loop().time() >= end or activity.is_worker_shutdown():
                    raise
                await asyncio.sleep(_YIELD_SECONDS)

    async def _take(self) -> Follower | None:
        """Takes the active generation over; None when there is none that can be followed."""
        active = await generations.active(self._looker, self._name)
        projection = await self._followed_by(active)
        if active is None or projection is None or active.position is None:
            return None
        row = generations.row_of(self._name, active.generation)
        await take_over(self._engine, schema.generations, row, spares_work=True)
        try:
            async with self._writer.begin():
                batch_size = followed_at_once(projection)
                poison = projection.backfill.poison(Poison())
                follower = await take(
                    self._writer, projection, active.generation, batch_size, poison
                )
                if follower.generation.status != ACTIVE:
                    raise RunEnded(f"generation {active.generation} has just been replaced")
        except RunEnded:
            return await self._take()
        taken = Taken(projection, follower.generation, follower.fence)
        reach = batch_size * WINDOW_PER_EVENT
        self._apart = await self._storage.settle(self._writer, taken, reach=reach)
        self._head = SettledHead(max(self._head.position, follower.position))
        if self._apart is None:  # what a batch may have written is announced, batch by batch
            follower.strides = strides_of(follower, self._ahead)
        return follower

    async def _followed_by(self, active: Generation | None) -> Projection | None:
        """The version that built the generation; None when no worker has it.

        Raises:
            NotOnThisWorker: Another worker has that version.
        """
        if active is None:
            return None
        return await self._deployment.version(self._name, active.version)

    async def _apply(self, follower: Follower) -> Follower | None:
        """Applies a batch; None when somebody else has taken the checkpoint over."""
        upto = self._target.upto(follower.position, self._head.position)
        if self._apart is not None:
            upto = min(upto, self._apart.record.next)
        try:
            with batch("live", self._name) as measured:
                events, _ = await follower.commit_batch(self._writer, upto)
                measured.events, measured.position = events, follower.position
            self._events += events
            if self._apart is not None:
                await self._apart.moved(follower.position)
        except TargetBehind as error:
            await self._target.behind(error, follower.position)
            return follower
        except Fenced:
            return await self._gives_way(follower)
        return follower

    async def _see_to_late_events(self, follower: Follower) -> Follower | None:
        try:
            await self._late.see_to(self._writer, follower)
        except Fenced:
            return await self._gives_way(follower)
        return follower

    async def _gives_way(self, follower: Follower) -> Follower | None:
        active = await generations.active(self._looker, self._name)
        if active is not None and active.generation == follower.generation.generation:
            await asyncio.sleep(_YIELD_SECONDS)
        return None

    async def _report(self, follower: Follower, *, behind: bool) -> LiveReport:
        if self._apart is not None:
            await self._apart.rest()
        generation = follower.generation
        newest = self._registry.get(self._name).version
        status = LiveStatus.CATCHING_UP if behind else LiveStatus.LIVE
        note = await wants_rebuild(self._looker, generation, newest)
        if note is not None:
            status = LiveStatus.NEEDS_REBUILD
        moved = follower.position if self._events else None
        await announcements.followed(self._engine, self._name, generation.generation, moved)
        await record(self._writer, generation, self._late.done)
        return LiveReport(
            status=status,
            generation=generation.generation,
            version=generation.version,
            followed=True,
            position=follower.position,
            head=self._head.position,
            waiting_for=[str(writer) for writer in self._head.waiting_for],
            events=self._events,
            late_events=self._late.done.events,
            at=await self._now(),
            note=note,
            rebuild_to=await self._rebuild_to(),
            system_events=await self._recorded(),
            snapshots=await newest_first(self._looker, self._name, most=RECENT),
        )

    async def _rebuild_to(self) -> int | None:
        newest = self._registry.get(self._name)
        return newest.version if await auto_start.wanted(self._looker, newest) else None

    async def _record_start(self) -> None:
        """Records that following begins, and from which checkpoint, if this segment begins it."""
        if self._segment.started is None:
            return
        await announcements.clear_the_way(self._engine, self._name)
        active = await generations.active(self._looker, self._name)
        began = ProjectionStarted(
            projection=self._name, generation=active.generation if active else None
        )
        async with self._writer.begin():
            fresh = await system_events.record(self._writer, began, key=self._segment.started)
            if fresh and active is not None and active.position is not None:
                restored = ProjectionCheckpointRestored(
                    projection=self._name, position=active.position
                )
                await system_events.record(self._writer, restored)

    async def _recorded(self) -> list[RecordedEvent]:
        found = await system_events.latest(
            self._looker, self._name, limit=RECENT, after=self._segment.known
        )
        return [brief(event) for event in found]

    async def _nothing_to_follow(self) -> LiveReport:
        active = await generations.active(self._looker, self._name)
        return LiveReport(
            status=LiveStatus.NEEDS_REBUILD,
            generation=active.generation if active else None,
            version=active.version if active else None,
            position=active.position if active else None,
            events=self._events,
            at=await self._now(),
            note=self._lost or why_not(active, self._registry.versions(self._name)),
            rebuild_to=await self._rebuild_to(),
            system_events=await self._recorded(),
            snapshots=await newest_first(self._looker, self._name, most=RECENT),
        )

    async def _now(self) -> datetime:
        now: datetime | None = await self._looker.scalar(select(func.clock_timestamp()))
        assert now is not None
        return now
