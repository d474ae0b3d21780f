"""The first pass of a run whose key is a function: keys are computed, and the plan made of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.workflow import ActivityCancellationType

from refold.workflows.base.moves import Moves
from refold.workflows.base.slots import Slots, at_most
from refold.workflows.base.steps import step

with workflow.unsafe.imports_passed_through():
    from refold.activities.lifecycle import LifecycleActivities
    from refold.activities.plan import PlanningActivities
    from refold.messages.run.life import (
        BeginRun,
        KeySegment,
        Phase,
        ProgressReport,
        WatchProgress,
    )
    from refold.messages.run.plan import Plan
    from refold.requests.runs import BackfillRequest

# Most runs are over before anybody need look; their last segment has their counters. Then progress
# is read often at first, and every few seconds later.
_UNWATCHED_SECONDS = 1.0
_SECOND_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 2.0, 4.0


class Keying(Moves[BackfillRequest]):
    """Base of runs that cut their work into slices, of the log or of keys, and watch them."""

    request_type = BackfillRequest
    atomic = False
    _request: BackfillRequest
    _is_refolded = False

    def _begin_run(self, request: BackfillRequest) -> BeginRun:
        return BeginRun(
            run_id=self._run_id,
            kind=workflow.info().workflow_type,
            request=request,
            atomic=self.atomic or bool(request.is_atomic),
        )

    async def _whole(self, plan: Plan) -> Plan:
        """Has keys computed where a function makes them; the plan that can be made of them."""
        while plan.awaits_keys:
            self._enter(Phase.KEYING)
            async with self._watching(plan, key_slices=plan.key_slices):
                await self._compute_keys(plan)
            plan = await self._do(
                PlanningActivities.plan_with_keys,
                lambda: self._begin_run(self._request),
                summary="plan, with the keys that were computed",
                options=step(plan.heartbeat_seconds),
            )
            self._plan = plan
            self._heed_cancellation()
            self._meter.planned(plan, workflow.now())
            self._show()
        return plan

    async def _compute_keys(self, plan: Plan) -> None:
        slots = self._slots(plan)
        await at_most(slots, [self._key_slice(plan, n, slots) for n in range(plan.key_slices)])
        await self._continue_if_long()

    def _key_slice(self, plan: Plan, number: int, slots: Slots) -> Any:
        async def compute() -> None:
            done = False
            while not done and not self._is_long:
                await slots.step_aside()
                segment = await self._do(
                    PlanningActivities.compute_keys,
                    lambda: KeySegment(run_id=plan.run_id, slice=number, controls=self._controls),
                    summary=f"keys of slice {number + 1} of {plan.key_slices}",
                    options=step(plan.heartbeat_seconds),
                )
                done = segment.done
                self._heed_cancellation()

        return compute

    def _slots(self, plan: Plan) -> Slots:
        return Slots(lambda: self._controls.max_concurrency or plan.max_concurrency)

    # -- progress ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _watching(self, plan: Plan, key_slices: int = 0) -> AsyncIterator[None]:
        """Keeps progress fresh until the context ends; of keys, if slices of them are watched."""

        looks = False

        async def watch() -> None:
            nonlocal looks
            await workflow.sleep(_UNWATCHED_SECONDS, summary="progress")
            looks = True
            seconds = 0.0
            is_done = False
            while not is_done:
                report = await self._look(plan, seconds, key_slices)
                is_done = report.keyed_slices >= key_slices if key_slices else report.refolded
                await self._while_at_work()
                seconds = min(max(2 * seconds, _SECOND_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)

        watcher = asyncio.create_task(watch())
        try:
            yield
        except (Exception, asyncio.CancelledError):
            watcher.cancel()
            # Gathered, not only waited for: an exception that nobody takes is a line in the log.
            await asyncio.gather(watcher, return_exceptions=True)
            raise
        # After the last partition a watch ends with the final counters. A crash of PostgreSQL may
        # have taken those of keys.
        if looks and not key_slices:
            await watcher
            return
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        if not key_slices and not self._is_refolded:
            await self._look(plan, 0.0, key_slices)

    def _refolded_as(self, report: ProgressReport) -> None:
        """All partitions are done."""
        self._is_refolded = True
        self._meter.observe(report)
        self._show()

    async def _look(self, plan: Plan, seconds: float, key_slices: int) -> ProgressReport:
        options = step(plan.heartbeat_seconds, longest=timedelta(minutes=5))
        options["cancellation_type"] = ActivityCancellationType.TRY_CANCEL  # it writes nothing
        report = await workflow.execute_activity_method(
            LifecycleActivities.watch_progress,
            WatchProgress(run_id=plan.run_id, seconds=seconds, key_slices=key_slices),
            summary="progress",
            **options,
        )
        self._meter.observe(report)
        self._show()
        return report
