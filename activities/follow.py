"""Follow: new events applied in position order, rows and checkpoint in one transaction."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.folding.follower import take_follower
from refold.engine.folding.pacing import Pace
from refold.engine.folding.target_wait import TargetWait
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.counters import read_report
from refold.engine.live.late_events import LateEvents
from refold.errors import TargetBehind
from refold.messages.run.life import FollowedSegment, FollowSegment, Phase
from refold.messages.run.plan import Plan
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.settings import Settings
from refold.runtime.telemetry import batch
from refold.source.head import SettledHead
from refold.store import generations, runs, schema
from refold.store.sessions.takeover import take_over

# Most open writers end within moments, so they are waited for this long, and no longer.
_SETTLING_SECONDS = 5.0

_LONGEST_SECONDS = 4.0


class FollowActivities(StepActivities):
    """The activity that brings a generation to the head.

    Args:
        engine: The database.
        registry: The projections.
        settings: For the length of a segment.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry, settings: Settings) -> None:
        super().__init__(engine, registry, settings.deployment_seconds)
        self._segment_seconds = settings.segment_seconds

    @activity.defn
    async def follow_segment(self, segment: FollowSegment) -> FollowedSegment:
        """Applies new events for some seconds, or until the generation is where it should be.

        Raises:
            PoisonEvent: An event that a handler cannot take.
            Fenced: Another attempt has taken over.
        """
        plan, projection = await self._planned(segment)
        clock = asyncio.get_running_loop().time
        # Nobody watches meanwhile: a segment's end is what moves the run's progress.
        end = clock() + min(self._segment_seconds, _LONGEST_SECONDS)
        looking = autocommit(self._engine)
        async with (
            heartbeating(self._engine, plan.run_id) as beat,
            looking.connect() as looker,
            self._engine.connect() as writer,
        ):
            row = generations.row_of(projection.name, plan.generation)
            await take_over(self._engine, schema.generations, row, spares_work=not plan.atomic)
            async with writer.begin():
                follower = await take_follower(writer, projection, plan)
            await announcements.awaited(self._engine, plan, segment.awaiting)
            if not plan.stale:
                await LateEvents().see_to(writer, follower)
            pace = Pace(self._engine, plan, segment.controls, beat)
            if plan.stale:
                upto = plan.position
            elif segment.to_live:
                upto = await self._live_position(looker, plan)
            else:
                head = SettledHead(max(plan.head, follower.position))
                upto = await head.wait(
                    looker,
                    seconds=_SETTLING_SECONDS,
                    waiting=lambda writers: beat.show(waiting_for=[str(w) for w in writers]),
                )
            goes_on = follower.position < upto and await pace.begin(writer)
            target = TargetWait()
            while goes_on:
                follower.batch_size = pace.batch_size
                next_upto = target.upto(follower.position, upto)
                try:
                    with batch("follow", projection.name) as measured:
                        events, told = await follower.commit_batch(writer, next_upto)
                        measured.events, measured.position = events, follower.position
                except TargetBehind as error:
                    await target.behind(error, follower.position)
                    beat.show(position=follower.position, head=upto, waiting_for=target.waiting_for)
                    told = await runs.revision(writer, plan.run_id)
                    goes_on = not pace.is_told(told) and await pace.wait(writer, 0)
                    continue
                target.reached(follower.position)
                beat.show(position=follower.position, head=upto)
                if follower.position >= upto:
                    await pace.spend(writer, events)
                    break
                goes_on = not pace.is_told(told) and await pace.wait(writer, events)
                if clock() > end or activity.is_worker_shutdown():
                    break
            if goes_on and not plan.stale:  # it has come to the end
                await LateEvents().see_to(writer, follower)
            async with writer.begin():
                report = await read_report(writer, plan.run_id)
            async with announcements.sampling(self._engine) as connection:
                await announcements.progressed(connection, plan.run_id, report, Phase.FOLLOWING)
            return FollowedSegment(
                caught_up=follower.position >= upto,
                position=follower.position,
                head=upto,
                report=report,
            )

    async def _live_position(self, connection: AsyncConnection, plan: Plan) -> int:
        """The live table's checkpoint; the plan's head when there is no table or no checkpoint."""
        active = await generations.active(connection, plan.projection)
        return plan.head if active is None or active.position is None else active.position
