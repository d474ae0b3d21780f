"""Watching a run's counters, and ending it."""

from __future__ import annotations

import asyncio
import logging

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating
from refold.engine.lifecycle import announcements
from refold.engine.lifecycle.cleanup import clear_what_is_held, end_run
from refold.engine.lifecycle.counters import report_of
from refold.engine.live.unkept import drop_unkept
from refold.errors import RunEnded
from refold.errors.codes import code_of
from refold.messages.run.endings import Finished, FinishRun
from refold.messages.run.life import ControlRun, Phase, ProgressReport, WatchProgress
from refold.messages.run.plan import Plan
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.judgement import Judgement, judge, told
from refold.runtime.missing_rights import with_right_named
from refold.runtime.temporal.search_attributes import Listing
from refold.store import generations, runs
from refold.system_events.events import ProjectionBackfillFailed

logger = logging.getLogger(__name__)

_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 0.02, 0.2


class LifecycleActivities:
    """Activities around a run's work.

    Args:
        engine: The database.
        registry: The projections, for how long each wants its generations kept.
        listing: Whether runs are listed, as it is known already.
    """

    def __init__(
        self, engine: AsyncEngine, registry: Registry, listing: Listing | None = None
    ) -> None:
        self._engine = engine
        self._looking = autocommit(engine)
        self._registry = registry
        self._listing = listing or Listing()

    @activity.defn
    async def watch_progress(self, watch: WatchProgress) -> ProgressReport:
        """The run's counters after some seconds, or at once when all partitions are done."""
        clock = asyncio.get_running_loop().time
        end = clock() + watch.seconds
        pause = _FIRST_LOOK_SECONDS
        async with heartbeating(self._engine, watch.run_id):
            while True:
                report = await report_of(self._engine, watch.run_id)
                if watch.key_slices:
                    if (
                        report.keyed_slices >= watch.key_slices
                        or clock() >= end
                        or activity.is_worker_shutdown()
                    ):
                        return report
                elif report.refolded or clock() >= end or activity.is_worker_shutdown():
                    async with announcements.sampling(self._engine) as connection:
                        await announcements.progressed(
                            connection, watch.run_id, report, Phase.REFOLDING
                        )
                    return report
                await asyncio.sleep(min(pause, max(0.0, end - clock())))
                pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    @activity.defn
    async def control_run(self, control: ControlRun) -> None:
        """Lets the segments at work know what the run has been told."""
        async with self._engine.begin() as connection:
            await runs.control(connection, control.run_id, control.controls)

    @activity.defn
    async def find_plan(self, run_id: str) -> Plan | None:
        """The plan of a run; None when it has none yet."""
        async with self._looking.connect() as connection:
            run = await runs.get(connection, run_id)
        return None if run is None or run.plan is None else Plan.model_validate(run.plan)

    @activity.defn
    async def finish_run(self, finish: FinishRun) -> Finished:
        """Ends a run: removes what it has not put live, gives up its lease, records the outcome.

        What need not be kept any longer is dropped first, if the run says so. It is safe to repeat,
        and safe for a run that never got its lease.

        Raises:
            RunEnded: The snapshot that the run has made is gone, or the run had ended already: from
                outside, or before its workflow was reset.
        """
        async with heartbeating(self._engine, finish.run_id):
            report = await report_of(self._engine, finish.run_id)
            ended_before = await self._ended_before(finish.run_id)
            undropped = None
            if finish.drops is not None and ended_before is None:
                undropped = await self._drop(finish, finish.drops)
            await announcements.clear_the_way(self._engine, finish.projection)
            await clear_what_is_held(self._engine, finish.run_id)
            await end_run(
                self._engine,
                run_id=finish.run_id,
                projection=finish.projection,
                status=finish.status,
                why=finish,
                ended_by=activity.info().workflow_run_id,
                refused=_refused(finish),
                keeps=finish.keeps,
            )
            async with self._looking.connect() as connection:
                active = await generations.active(connection, finish.projection)
        return Finished(
            generation=active.generation if active else None,
            position=active.position if active else None,
            report=report,
            is_listed=await self._listing.is_there(activity.client),
            ended_before=ended_before,
            undropped=undropped,
        )

    async def _drop(self, finish: FinishRun, drops: list[int]) -> str | None:
        """Drops what need not be kept; why it cannot, in words, if it never can."""
        try:
            await drop_unkept(
                self._engine, self._registry, finish.projection, run_id=finish.run_id, also=drops
            )
        except Exception as error:
            # What the run was asked for is done; workers try again to drop what is beyond its time.
            if isinstance(error, RunEnded) or judge(error) is Judgement.PASSING:
                raise
            named = await with_right_named(self._engine, error)
            logger.warning("%s: old generations stay: %s", finish.projection, told(named))
            return told(named)
        return None

    async def _ended_before(self, run_id: str) -> str | None:
        async with self._looking.connect() as connection:
            run = await runs.get(connection, run_id)
        own = activity.info().workflow_run_id
        is_over = run is not None and run.ended_at is not None and run.ended_by != own
        return run.status if run is not None and is_over else None


def _refused(finish: FinishRun) -> ProjectionBackfillFailed | None:
    """The answer to a request by event whose run never had its lease; None for other runs."""
    if finish.correlation_id is None:
        return None
    return ProjectionBackfillFailed(
        projection=finish.projection,
        correlation_id=finish.correlation_id,
        run_id=finish.run_id,
        kind=activity.info().workflow_type or "",
        status=finish.status,
        error=finish.error or f"the run ended as {finish.status}",
        error_type=finish.error_type,
        code=code_of(finish.error_type),
        is_transient=finish.is_transient,
    )
