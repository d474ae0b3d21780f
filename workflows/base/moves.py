"""What rebuilds and rollbacks have in common: following a generation and putting it live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow

from refold.workflows.base.run import Run
from refold.workflows.base.steps import step

with workflow.unsafe.imports_passed_through():
    from refold.activities.follow import FollowActivities
    from refold.activities.shadow import ShadowActivities
    from refold.activities.snapshot import SnapshotActivities
    from refold.activities.swap import SwapActivities
    from refold.messages.run.endings import SwapSegment
    from refold.messages.run.life import FollowSegment, Phase
    from refold.messages.run.plan import Plan, RunStep
    from refold.requests.runs import Request

R = TypeVar("R", bound=Request)

_ENDING_PAUSE = timedelta(seconds=20)


class Moves(Run[R]):
    """Base of runs that follow and swap."""

    _refused_since: datetime | None = None

    def _step_of(self, plan: Plan) -> RunStep:
        return plan.step.model_copy(update={"knows_obstacles": self._knows_obstacles})

    async def _copy(self, plan: Plan, what: str) -> None:
        """Fills the plan's generation with the rows of the one that it begins with."""
        self._enter(Phase.COPYING)
        await self._do(
            SnapshotActivities.copy_generation,
            lambda: self._step_of(plan),
            summary=f"copy the {what}, generation {plan.copies}",
            options=step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()

    async def _follow(
        self, plan: Plan, *, to_live: bool = False, awaiting: Sequence[str] = ()
    ) -> None:
        """Brings the plan's generation to the head, or to the live table's checkpoint."""
        caught_up = False
        while not caught_up:
            segment = await self._do(
                FollowActivities.follow_segment,
                lambda: FollowSegment(
                    run_id=plan.run_id,
                    bringing_back=plan.brings_back,
                    knows_obstacles=self._knows_obstacles,
                    to_live=to_live,
                    controls=self._controls,
                    awaiting=tuple(awaiting),
                ),
                summary="events since the plan",
                options=step(plan.heartbeat_seconds),
            )
            self._meter.observe(segment.report)
            self._show()
            caught_up = segment.caught_up
            self._heed_cancellation()
            if not caught_up:
                await self._continue_if_long()

    async def _go_live(self, plan: Plan) -> None:
        """Prepares the plan's generation, brings it to the head once more, and swaps it in."""
        self._enter(Phase.PREPARING)
        prepared = await self._do(
            ShadowActivities.prepare_swap,
            lambda: plan.step,
            summary="statistics, and what is attached to the live table",
            options=step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()
        if not plan.stale and not prepared.few_left:
            # Preparing took long; the swap's own transaction is for the last few events.
            self._enter(Phase.FOLLOWING)
            await self._follow(plan, to_live=plan.brings_back)
        if not await self._swap(plan, prepared.mark):
            await self._go_live(plan)

    def _waited_long(self, plan: Plan) -> bool:
        """Whether somebody has had time enough to take away what stops the swap."""
        since = self._refused_since
        seconds = plan.swap_patience_seconds
        return since is not None and workflow.now() - since >= timedelta(seconds=seconds)

    async def _swap(self, plan: Plan, mark: str) -> bool:
        """Swaps the plan's generation in; False when it has to be prepared again."""
        self._enter(Phase.SWAPPING)
        while True:
            tried = await self._do(
                SwapActivities.swap_generation,
                lambda: SwapSegment(
                    run_id=plan.run_id,
                    bringing_back=plan.brings_back,
                    mark=mark,
                    last=self._waited_long(plan),
                ),
                summary="swap the new table in",
                options=step(plan.heartbeat_seconds),
            )
            self._meter.waiting_for = tried.waiting_for
            if not tried.refused:
                self._refused_since = None
            elif self._refused_since is None:
                self._refused_since = workflow.now()
            self._show()
            if tried.done:
                return True
            self._heed_cancellation()
            await self._continue_if_long()
            if tried.changed:
                return False
            if self._ending:
                # It cannot continue as new any more: its history must not grow without bound.
                await workflow.sleep(self._pause_before_the_end(plan))

    def _pause_before_the_end(self, plan: Plan) -> timedelta:
        """Until the next try of a swap that ends a run: no longer than it is waited at all."""
        if self._refused_since is None:
            return _ENDING_PAUSE
        until = self._refused_since + timedelta(seconds=plan.swap_patience_seconds)
        return min(_ENDING_PAUSE, max(until - workflow.now(), timedelta(seconds=1)))
