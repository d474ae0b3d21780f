"""What every run has: a life, its progress, a way to cancel it, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from refold.workflows.base.listing import memo_of
from refold.workflows.base.run_end import (
    Undone,
    fail,
    has_ended,
    message_of,
    require_not_reset,
    why_of,
)
from refold.workflows.base.shown import Shown
from refold.workflows.base.steps import step, uncancelled

with workflow.unsafe.imports_passed_through():
    from refold.activities.lifecycle import LifecycleActivities
    from refold.errors import InvalidRequest
    from refold.errors.codes import REFUSALS
    from refold.errors.short_failure import ShortFailure
    from refold.messages.run.controls import Controls
    from refold.messages.run.endings import Finished, FinishRun, Why
    from refold.messages.run.life import BackfillResult, Continued, Phase, Progress
    from refold.messages.run.plan import Plan
    from refold.messages.run.preview import Preview
    from refold.messages.run.progress import ProgressMeter
    from refold.messages.run.status import RunStatus
    from refold.messages.search_attributes import REFUSED
    from refold.requests.fairness import fairness_key
    from refold.requests.runs import Request
    from refold.requests.validation import accept_request, in_words

R = TypeVar("R", bound=Request)


class Run(Shown, Generic[R]):
    """Base of the workflows that write a projection. What it does, in order, is `_steps`.

    A workflow class says what it is started with (`request_type`), what it is called while it
    works and when it has worked (`working`, `worked`), how it begins (`_begin`) and what it does
    then (`_steps`).
    """

    request_type: type[R]
    working = RunStatus.RUNNING
    worked = RunStatus.COMPLETED

    def __init__(self, inputs: Sequence[Any]) -> None:
        continued = workflow.info().continued_run_id is not None and len(inputs) > 1
        self._before = Continued.model_validate(inputs[1]) if continued else None
        super().__init__(
            ProgressMeter(self._before.progress if self._before else None),
            self._before.controls if self._before else Controls(),
        )
        self._work: asyncio.Task[None] | None = None
        self._plan = self._before.plan if self._before else None
        self._can_tell = self._plan is not None
        self._cancel_reason: str | None = None
        self._fairness_key: str | None = None
        self._undropped: str | None = None
        # Untyped on purpose: Temporal would leave a workflow with a wrong input running for ever,
        # trying to decode it. So it is decoded here, and what is wrong fails the run at once.
        self._inputs = inputs[:1] if continued else inputs
        self._show()

    # -- queries and signals -----------------------------------------------------------------

    @workflow.query(name="progress", description="Counters, rate and time left of the run")
    def progress(self) -> Progress:
        """See `refold.messages.Progress`."""
        return self._meter.progress()

    @workflow.query(name="status", description="Where the run is in its life, in one word")
    def status(self) -> str:
        """See `refold.messages.RunStatus`."""
        return self._meter.progress().status.value

    @workflow.query(name="plan", description="What the run is going to do; null while it plans")
    def plan(self) -> Preview | None:
        """See `refold.messages.run.preview.Preview`."""
        return self._plan.preview if self._plan else None

    @workflow.signal(name="cancel", description="Stop and undo; an optional reason is recorded")
    def cancel(self, *said: Any) -> None:
        """Asks the run to stop: the new table is removed; keys repaired in place stay so."""
        self._stop(in_words(said))

    def _stop(self, reason: str) -> None:
        if self._cancel_reason is None and not self._too_late_to_cancel:
            self._cancel_reason = reason
            self._settle(RunStatus.CANCELLING)
            if self._work is not None:
                self._work.cancel()

    @property
    def _too_late_to_cancel(self) -> bool:
        return self._ending or self._meter.status.ended

    # -- the run -----------------------------------------------------------------------------

    @property
    def fairness_key(self) -> str | None:
        """With whom its activities take turns; None until the request is accepted."""
        return self._fairness_key

    async def _begin(self, request: R) -> Plan:
        raise NotImplementedError

    async def _steps(self, plan: Plan) -> None:
        raise NotImplementedError

    async def _to_the_end(self) -> BackfillResult:
        """Carries the request out, from the plan to the end, whatever the end."""
        # Not `finally`: nothing may be awaited when a worker that ends throws the coroutine away.
        try:
            result = await self._carried_to_its_end()
        except (Exception, asyncio.CancelledError, workflow.ContinueAsNewError):
            await self._answered()
            raise
        await self._answered()
        return result

    async def _answered(self) -> None:
        """Waits for the handlers of signals and updates: nobody is left without an answer."""
        await workflow.wait_condition(workflow.all_handlers_finished)

    async def _carried_to_its_end(self) -> BackfillResult:
        request = self._accepted()
        self._work = asyncio.create_task(self._carry_out(request))
        if self._cancel_reason is not None:
            self._work.cancel()
        try:
            await self._work
        except workflow.ContinueAsNewError:
            if self._cancel_reason is None:
                raise
            # Asked meanwhile: the next execution would not know.
            return await self._end_badly(request, asyncio.CancelledError())
        except (Exception, asyncio.CancelledError) as error:
            return await self._end_badly(request, error)
        return await self._end_well(request)

    def _accepted(self) -> R:
        try:
            request = accept_request(self._inputs, self.request_type)
        except InvalidRequest as error:
            self._meter.phase = Phase.DONE
            self._failure = Why(error=str(error), error_type="InvalidRequest")
            self._settle(RunStatus.FAILED)
            raise ShortFailure(str(error), type="InvalidRequest", non_retryable=True) from None
        self._asked = request
        self._fairness_key = fairness_key(request.projection, getattr(request, "tenant", None))
        return request

    async def _carry_out(self, request: R) -> None:
        if self._meter.status is RunStatus.PENDING:
            self._settle(self.working)
        self._plan = await self._begin(request)
        self._heed_cancellation()
        self._can_tell = True
        if self._plan.is_listed:
            self._listed.turn_on(memo_of(self._plan))
        self._meter.planned(self._plan, workflow.now())
        self._show()
        if not self._is_dry(request):
            await self._steps(self._plan)

    def _is_dry(self, request: R) -> bool:
        return bool(getattr(request, "dry_run", False))

    def _heed_cancellation(self) -> None:
        """Goes no further once cancelled: an activity that ends well all the same uses it up."""
        if self._ending:
            return
        current = asyncio.current_task()
        if any(task is not None and task.cancelling() for task in (self._work, current)):
            raise asyncio.CancelledError

    @property
    def _is_long(self) -> bool:
        """Whether this history should end soon; once true it stays so."""
        return workflow.info().is_continue_as_new_suggested()

    async def _continue_if_long(self) -> None:
        """Begins a new history when this one is long; plan and checkpoints are in the database."""
        if self._is_long and not self._ending:
            await workflow.wait_condition(workflow.all_handlers_finished)
            carried = self._carried_over().model_dump(mode="json")
            workflow.continue_as_new(args=[*self._inputs, carried])

    def _carried_over(self) -> Continued:
        # What steps wait for is theirs: those of the next execution will say it anew.
        own = {"status": self._meter.status, "waiting_for": self._meter.waiting_for}
        progress = self._meter.progress().model_copy(update=own)
        return Continued(progress=progress, plan=self._plan, controls=self._controls)

    # -- the end -----------------------------------------------------------------------------

    @property
    def _run_id(self) -> str:
        """The run's id: it stays the same when the workflow continues as new."""
        return workflow.info().first_execution_run_id

    async def _end_well(self, request: R) -> BackfillResult:
        self._begin_ending()
        self._enter(Phase.CLEANING_UP)
        if self._is_dry(request):
            self._meter.phase = Phase.DONE
            self._settle(RunStatus.COMPLETED)
            return self._result(request, None, RunStatus.COMPLETED)
        assert self._plan is not None
        plan = self._plan
        unkept = plan.backup is not None and not plan.keep_backup
        drops = [plan.backup] if unkept and plan.backup is not None else []
        try:
            finished = await self._finish(request, self.worked, Why(), drops)
        except ActivityError as error:
            self._settle(RunStatus.FAILED)
            fail(error, None)
        return self._result(request, finished, self.worked)

    async def _end_badly(self, request: R, error: BaseException) -> BackfillResult:
        cancelled = is_cancelled_exception(error)
        if not cancelled and not isinstance(error, (ActivityError, ApplicationError)):
            raise error  # a defect in a workflow: Temporal retries the task until it is mended
        self._begin_ending()
        if cancelled:
            self._settle(RunStatus.CANCELLING)
        status = RunStatus.CANCELLED if cancelled else RunStatus.FAILED
        reason = self._cancel_reason if cancelled else message_of(error)
        undone = await uncancelled(self._undo(request))
        if undone is not None:
            reason = f"{reason}; {undone.said}" if reason else undone.said
            status = RunStatus.UNDONE if undone.done else RunStatus.FAILED
        self._enter(Phase.CLEANING_UP)
        why = why_of(error, reason, cancelled=cancelled)
        self._failure = why
        finished = await self._finish(request, status, why)
        require_not_reset(finished)
        if not cancelled:
            fail(error, undone)
        if undone is not None and not undone.done:
            raise ShortFailure(undone.said, type="NotBroughtBack", non_retryable=True) from None
        if self._cancel_reason is None:
            raise error  # cancelled by Temporal: the workflow ends as cancelled
        return self._result(request, finished, status)

    def _begin_ending(self) -> None:
        """From here on it is neither paused nor cancelled any more."""
        self._ending = True
        self._note_hold()

    async def _undo(self, request: R) -> Undone | None:
        """Brings back what stood there before; None when there is nothing to bring back."""
        return None

    def _kept(self, plan: Plan) -> int | None:
        """The generation that becomes a snapshot when the run has worked; None for none."""
        return None

    async def _finish(
        self, request: R, status: RunStatus, why: Why, drops: list[int] | None = None
    ) -> Finished:
        plan = self._plan
        finish = FinishRun(
            run_id=self._run_id,
            projection=request.projection,
            status=status,
            **why.model_dump(),
            correlation_id=request.correlation_id,
            keeps=self._kept(plan) if plan is not None and status is self.worked else None,
            drops=drops,
        )
        # A cancellation comes too late now: whatever happens, the lease must be given up.
        try:
            finished = await uncancelled(
                workflow.execute_activity_method(
                    LifecycleActivities.finish_run, finish, summary=f"end: {status}", **step()
                )
            )
        except ActivityError as refused:
            if has_ended(refused):
                raise
            self._meter.phase = Phase.DONE
            self._meter.waiting_for = []
            self._settle(RunStatus.FAILED)
            done = why.error or status
            if status is self.worked:
                done = "it has done what it was asked for"
            raise ShortFailure(
                f"{done}; but it cannot end: {message_of(refused)}: it holds its projection until "
                "workers, which try every 15 seconds, can end it",
                type="CannotEnd",
                non_retryable=True,
            ) from None
        self._undropped = finished.undropped or self._undropped
        if finished.report is not None:
            self._meter.observe(finished.report)
        self._meter.phase = Phase.DONE
        self._meter.waiting_for = []
        self._meter.completed = status is self.worked
        if finished.is_listed:
            self._listed.turn_on({})  # no plan has said so, where it was refused
        self._settle(status)
        return finished

    def _ending_in_list(self) -> str | None:
        was_begun = self._plan is not None or self._meter.status is not RunStatus.FAILED
        kind = self._failure.error_type if self._failure is not None else None
        return None if was_begun or kind not in REFUSALS else REFUSED

    def _result(self, request: R, finished: Finished | None, status: RunStatus) -> BackfillResult:
        note = self._plan.note if self._plan else None
        left = self._undropped and f"what need not be kept is still there: {self._undropped}"
        return BackfillResult(
            status=status,
            projection=request.projection,
            run_id=self._run_id,
            generation=finished.generation if finished else None,
            position=finished.position if finished else None,
            events_processed=self._meter.events_processed,
            reason=self._cancel_reason or None,
            plan=self.plan() if self._is_dry(request) else None,
            in_place=self._plan is not None and not self._plan.atomic,
            note="; ".join(filter(None, (note, left))) or None,
            dead_letters=self._meter.dead_letters,
        )
