"""The steps of a backfill or rebuild: refold, index, verify, wait for approval, go live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from refold.workflows.base.keying import Keying
from refold.workflows.base.run_end import Undone, has_ended, message_of
from refold.workflows.base.slots import Slots, at_most
from refold.workflows.base.steps import step, uncancelled

with workflow.unsafe.imports_passed_through():
    from refold.activities.lifecycle import LifecycleActivities
    from refold.activities.plan import PlanningActivities
    from refold.activities.refold import RefoldActivities
    from refold.activities.retention import RetentionActivities
    from refold.activities.shadow import ShadowActivities
    from refold.activities.verification import VerifyActivities
    from refold.messages.run.approval import reasons_to_wait
    from refold.messages.run.controls import Controls
    from refold.messages.run.diff import Diff
    from refold.messages.run.diff import as_markdown as diff_as_markdown
    from refold.messages.run.endings import DropGenerations
    from refold.messages.run.life import (
        Continued,
        Phase,
        RefoldSegment,
    )
    from refold.messages.run.plan import Plan
    from refold.messages.run.status import RunStatus
    from refold.messages.search_attributes import REJECTED
    from refold.requests.runs import BackfillRequest
    from refold.requests.validation import in_words

# How often a table that awaits approval is brought to the head.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 30.0


class Building(Keying):
    """Base of the workflows that fold events into a read model, in place or in a new table."""

    def __init__(self, inputs: Sequence[Any]) -> None:
        self._diff: Diff | None = None
        self._reasons: list[str] = []
        self._approved = False
        self._rejected = False
        self._at_head = False
        super().__init__(inputs)
        # Continued as new while it waited: an approval that comes early now must not be lost.
        self._may_approve = self._meter.status is RunStatus.AWAITING_APPROVAL
        self._approved = self._before is not None and self._before.approved

    # -- queries and signals -----------------------------------------------------------------

    @workflow.query(name="diff", description="What the new table changes; null until verified")
    def diff(self) -> Diff | None:
        """See `refold.messages.run.diff.Diff`."""
        return self._diff

    @workflow.signal(name="approve", description="Let the new table go live")
    def approve(self, *said: Any) -> None:
        """Lets the table that awaits approval go live; comes to nothing at any other time."""
        self._approved = self._approved or self._may_approve

    @workflow.signal(name="reject", description="Discard the new table; an optional reason")
    def reject(self, *said: Any) -> None:
        """Ends the run as cancelled: the new table is removed, readers keep the one they have."""
        reason = in_words(said)
        self._rejected = self._rejected or not self._too_late_to_cancel
        self._stop(f"rejected: {reason}" if reason else "rejected")

    def _ending_in_list(self) -> str | None:
        cancelled = self._meter.status is RunStatus.CANCELLED
        return REJECTED if cancelled and self._rejected else super()._ending_in_list()

    # -- the steps ---------------------------------------------------------------------------

    async def _begin(self, request: BackfillRequest) -> Plan:
        self._request = request
        return await workflow.execute_activity_method(
            PlanningActivities.begin_run,
            self._begin_run(request),
            summary="lease and plan",
            **step(),
        )

    async def _steps(self, plan: Plan) -> None:
        plan = await self._whole(plan)
        if plan.copies is not None:
            await self._copy(plan, "live table")
        await self._refold(plan)
        if plan.atomic:
            await self._index(plan)
            await self._verify(plan)
            await self._approval(plan)
        if self._at_head:
            await self._unless_paused()
            self._heed_cancellation()
        elif not plan.stale and not plan.retries_only:
            self._enter(Phase.FOLLOWING)
            await self._follow(plan)
        if plan.atomic:
            await self._go_live(plan)

    async def _refold(self, plan: Plan) -> None:
        if not plan.partitions:
            return
        self._enter(Phase.REFOLDING)
        slots = self._slots(plan)
        async with self._watching(plan):
            self._keys_lost = True
            while self._keys_lost:
                self._keys_lost = False
                parts = range(plan.partitions)
                await at_most(slots, [self._partition(plan, n, slots) for n in parts])
                await self._continue_if_long()
                if self._keys_lost:
                    await self._compute_keys(plan)

    def _partition(self, plan: Plan, partition: int, slots: Slots) -> Any:
        async def refold() -> None:
            done = False
            while not done and not self._is_long:
                await slots.step_aside()
                segment = await self._do(
                    RefoldActivities.refold_segment,
                    lambda: RefoldSegment(
                        run_id=plan.run_id,
                        knows_obstacles=self._knows_obstacles,
                        partition=partition,
                        controls=self._controls,
                    ),
                    summary=f"partition {partition + 1} of {plan.partitions}",
                    options=step(plan.heartbeat_seconds),
                )
                done = segment.done
                if segment.report is not None:
                    self._refolded_as(segment.report)
                    self._at_head = segment.at_head
                self._heed_cancellation()
                if segment.keys_lost:
                    self._keys_lost = True
                    return

        return refold

    async def _index(self, plan: Plan) -> None:
        if not plan.partitions or plan.copies is not None:
            return
        self._enter(Phase.INDEXING)
        await self._do(
            ShadowActivities.build_indexes,
            lambda: self._step_of(plan),
            summary="keys and indexes of the new table",
            options=step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()

    async def _verify(self, plan: Plan) -> None:
        if not plan.partitions:
            # Nothing was refolded: the new table is filled by following, then compared.
            self._enter(Phase.FOLLOWING)
            await self._follow(plan, to_live=True)
        self._enter(Phase.VERIFYING)
        self._diff = await self._do(
            VerifyActivities.verify_generation,
            lambda: self._step_of(plan),
            summary="compare with the live table",
            options=step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()

    async def _approval(self, plan: Plan) -> None:
        """Waits for a person where one is wanted, while the new table follows the head."""
        assert self._diff is not None
        self._reasons = reasons_to_wait(plan, self._diff)
        if self._approved or not self._reasons:
            if self._meter.status is RunStatus.AWAITING_APPROVAL:
                # Approved before it continued as new.
                self._go_on()
            return
        self._may_approve = True
        self._meter.phase = Phase.AWAITING_APPROVAL
        self._meter.waiting_for = self._reasons
        self._settle(RunStatus.AWAITING_APPROVAL)
        seconds = _FIRST_WAIT_SECONDS
        while not self._approved:
            await self._follow(plan, awaiting=self._reasons)
            await self._continue_if_long()
            try:
                await workflow.wait_condition(
                    lambda: self._approved,
                    timeout=timedelta(seconds=seconds),
                    timeout_summary="awaiting approval",
                )
            except TimeoutError:
                seconds = min(2 * seconds, _LONGEST_WAIT_SECONDS)
            self._heed_cancellation()
        self._go_on()

    def _go_on(self) -> None:
        """Nobody need be waited for any more."""
        self._meter.waiting_for = []
        self._settle(RunStatus.RUNNING)

    def _carried_over(self) -> Continued:
        return super()._carried_over().model_copy(update={"approved": self._approved})

    def _details(self) -> str:
        parts = [super()._details()]
        if self._diff is not None:
            parts += ["", diff_as_markdown(self._diff)]
        return "\n".join(parts)

    # -- undoing -----------------------------------------------------------------------------

    def _may_be_planned(self, request: BackfillRequest) -> bool:
        """Whether there may be a plan, with a backup, whose making this workflow has not heard."""
        if request.rollback_on_failure is not None or self._is_dry(request):
            return bool(request.rollback_on_failure)
        # Its projection may declare a way back.
        cancelled = self._meter.status is RunStatus.CANCELLING
        return cancelled and not self.atomic and workflow.patched("declared-way-back")

    async def _undo(self, request: BackfillRequest) -> Undone | None:
        """Puts the backup live: up to where the live table had come, no further."""
        if self._plan is None and self._may_be_planned(request):
            # Cancelled just as it was planned: the answer was lost, the backup was not.
            try:
                self._plan = await workflow.execute_activity_method(
                    LifecycleActivities.find_plan, self._run_id, summary="was it planned", **step()
                )
            except ActivityError as error:
                return Undone(
                    done=False, said=f"whether it was planned is not known: {error.cause}"
                )
        plan = self._plan
        if plan is None or plan.backup is None or not plan.rollback_on_failure:
            return None
        self._settle(RunStatus.ROLLING_BACK)
        self._enter(Phase.BRINGING_BACK)
        self._meter.controls = Controls(revision=self._controls.revision)
        try:
            await self._go_live(plan.bringing_back())
        except ActivityError as error:
            return Undone(
                done=False,
                said=f"what stood there before was NOT brought back ({error.cause}): generation "
                f"{plan.backup} has it, `refold rollback {plan.projection} --to-generation "
                f"{plan.backup}` puts it live",
            )
        await self._drop(request, [plan.generation])
        return Undone(done=True, said="what stood there before was brought back")

    async def _drop(self, request: BackfillRequest, also: list[int]) -> None:
        """Drops what need not be kept any longer, in a step of its own; one that may fail."""
        try:
            await uncancelled(
                workflow.execute_activity_method(
                    RetentionActivities.drop_generations,
                    DropGenerations(run_id=self._run_id, projection=request.projection, also=also),
                    summary="drop generations beyond their time",
                    **step(),
                )
            )
        except ActivityError as refused:
            if is_cancelled_exception(refused) or has_ended(refused):
                raise
            # What it was asked for is done; workers try again to drop what is beyond its time.
            self._undropped = message_of(refused)
