"""What every run has: a life, its progress, a way to cancel it, and an orderly end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NoReturn

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    is_cancelled_exception,
)
from temporalio.workflow import ActivityCancellationType

from workflows.steps import at_most, step, uncancelled

with workflow.unsafe.imports_passed_through():
    from activities.following import FollowActivities
    from activities.lifecycle import LifecycleActivities
    from activities.planning import PlanningActivities
    from activities.refolding import RefoldActivities
    from activities.swapping import SwapActivities
    from refold.errors import InvalidRequest
    from refold.messages import (
        BackfillRequest,
        BackfillResult,
        BeginRun,
        Finished,
        FinishRun,
        Phase,
        Plan,
        Progress,
        ProgressReport,
        RefoldSegment,
        RunStatus,
        WatchProgress,
        accept_request,
    )
    from refold.progress import ProgressMeter, as_markdown

# Progress is read often at first, so that a short run shows some, then every few seconds.
_FIRST_LOOK_SECONDS, _LONGEST_LOOK_SECONDS = 1.0, 4.0


class Run:
    """Base of the workflows that write a projection. What it does, in order, is `_steps`."""

    def __init__(self, inputs: Sequence[Any]) -> None:
        continued = workflow.info().continued_run_id is not None and len(inputs) > 1
        so_far = Progress.model_validate(inputs[1]) if continued else None
        self._meter = ProgressMeter(so_far)
        self._work: asyncio.Task[None] | None = None
        self._cancel_reason: str | None = None
        # Untyped on purpose: Temporal would leave a workflow with a wrong input running for ever,
        # trying to decode it. So it is decoded here, and what is wrong fails the run at once.
        self._inputs = inputs[:1] if continued else inputs
        self._title = workflow.info().workflow_type
        self._show()

    # -- queries and signals -----------------------------------------------------------------

    @workflow.query(name="progress", description="Counters, rate and time left of the run")
    def progress(self) -> Progress:
        """See `refold.messages.Progress`."""
        return self._meter.progress()

    @workflow.query(name="status", description="Where the run is in its life, in one word")
    def status(self) -> str:
        """See `refold.messages.RunStatus`."""
        return self._meter.status.value

    @workflow.signal(name="cancel", description="Stop and undo; an optional reason is recorded")
    def cancel(self, reason: Any = None) -> None:
        """Asks the run to stop: what it built aside is removed; keys repaired in place stay so."""
        if self._cancel_reason is None and not self._too_late_to_cancel:
            self._cancel_reason = "" if reason is None else str(reason)
            self._settle(RunStatus.CANCELLING)
            if self._work is not None:
                self._work.cancel()

    @property
    def _too_late_to_cancel(self) -> bool:
        return self._meter.status.ended or self._meter.phase in (Phase.CLEANING_UP, Phase.DONE)

    # -- the run -----------------------------------------------------------------------------

    async def _to_the_end(self, kind: str, *, atomic: bool) -> BackfillResult:
        """Carries the request out, from the plan to the end, whatever the end."""
        request = self._accepted()
        self._work = asyncio.create_task(self._steps(request, kind, atomic))
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

    def _accepted(self) -> BackfillRequest:
        try:
            request = accept_request(self._inputs)
        except InvalidRequest as error:
            self._meter.phase = Phase.DONE
            self._settle(RunStatus.FAILED)
            raise ApplicationError(str(error), type="InvalidRequest", non_retryable=True) from None
        self._title = f"{self._title} {request.projection}"
        return request

    async def _steps(self, request: BackfillRequest, kind: str, atomic: bool) -> None:
        self._settle(RunStatus.RUNNING)
        plan = await self._begin(request, kind, atomic or bool(request.is_atomic))
        await self._refold(plan)
        if plan.atomic and plan.partitions:
            await self._index(plan)
        await self._follow(plan)
        if plan.atomic:
            await self._swap(plan)

    # -- the steps ---------------------------------------------------------------------------

    async def _begin(self, request: BackfillRequest, kind: str, atomic: bool) -> Plan:
        begin = BeginRun(run_id=self._run_id, kind=kind, request=request, atomic=atomic)
        plan = await workflow.execute_activity_method(
            PlanningActivities.begin_run, begin, summary="lease and plan", **step()
        )
        self._heed_cancellation()
        self._meter.planned(plan, workflow.now())
        self._show()
        return plan

    async def _refold(self, plan: Plan) -> None:
        if not plan.partitions:
            return
        self._enter(Phase.REFOLDING)
        async with self._watching(plan):
            await at_most(
                plan.max_concurrency,
                [self._partition(plan, number) for number in range(plan.partitions)],
            )
            self._continue_if_long()

    def _partition(self, plan: Plan, partition: int) -> Any:
        async def refold() -> None:
            done = False
            while not done and not self._is_long:
                segment = await workflow.execute_activity_method(
                    RefoldActivities.refold_segment,
                    RefoldSegment(plan=plan, partition=partition),
                    summary=f"partition {partition + 1} of {plan.partitions}",
                    **step(plan.heartbeat_seconds),
                )
                done = segment.done
                self._heed_cancellation()

        return refold

    async def _index(self, plan: Plan) -> None:
        self._enter(Phase.INDEXING)
        await workflow.execute_activity_method(
            SwapActivities.build_indexes,
            plan,
            summary="keys and indexes of the new table",
            **step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()

    async def _follow(self, plan: Plan) -> None:
        self._enter(Phase.FOLLOWING)
        caught_up = False
        while not caught_up:
            segment = await workflow.execute_activity_method(
                FollowActivities.follow_segment,
                plan,
                summary="events since the plan",
                **step(plan.heartbeat_seconds),
            )
            self._meter.observe(segment.report)
            self._show()
            caught_up = segment.caught_up
            self._heed_cancellation()
            if not caught_up:
                self._continue_if_long()

    async def _swap(self, plan: Plan) -> None:
        self._enter(Phase.ANALYZING)
        await workflow.execute_activity_method(
            SwapActivities.analyze,
            plan,
            summary="statistics of the new table",
            **step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()
        self._enter(Phase.SWAPPING)
        await workflow.execute_activity_method(
            SwapActivities.swap_generation,
            plan,
            summary="swap the new table in",
            **step(plan.heartbeat_seconds),
        )

    def _heed_cancellation(self) -> None:
        """Goes no further once cancelled: an activity that ends well all the same uses it up."""
        current = asyncio.current_task()
        if any(task is not None and task.cancelling() for task in (self._work, current)):
            raise asyncio.CancelledError

    @property
    def _is_long(self) -> bool:
        """Whether this history should end soon; once true it stays so."""
        return workflow.info().is_continue_as_new_suggested()

    def _continue_if_long(self) -> None:
        """Begins a new history when this one is long; plan and checkpoints are in the database."""
        if self._is_long:
            so_far = self._meter.progress().model_dump(mode="json")
            workflow.continue_as_new(args=[*self._inputs, so_far])

    # -- progress ----------------------------------------------------------------------------

    @asynccontextmanager
    async def _watching(self, plan: Plan) -> AsyncIterator[None]:
        """Keeps progress fresh until the context ends."""

        async def watch() -> None:
            seconds = _FIRST_LOOK_SECONDS
            refolded = False
            while not refolded:
                report = await self._look(plan, seconds)
                refolded = report.refolded
                seconds = min(seconds * 1.5, _LONGEST_LOOK_SECONDS)

        watcher = asyncio.create_task(watch())
        try:
            yield
        except (Exception, asyncio.CancelledError):
            watcher.cancel()
            await workflow.wait([watcher])
            raise
        # After the last partition the watch ends by itself, with the final counters.
        await watcher

    async def _look(self, plan: Plan, seconds: float) -> ProgressReport:
        options = step(plan.heartbeat_seconds, longest=timedelta(minutes=5))
        options["cancellation_type"] = ActivityCancellationType.TRY_CANCEL  # it writes nothing
        report = await workflow.execute_activity_method(
            LifecycleActivities.watch_progress,
            WatchProgress(run_id=plan.run_id, seconds=seconds),
            summary="progress",
            **options,
        )
        self._meter.observe(report)
        self._show()
        return report

    def _enter(self, phase: Phase) -> None:
        self._meter.phase = phase
        self._show()

    def _settle(self, status: RunStatus) -> None:
        self._meter.status = status
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(as_markdown(self._meter.progress(), self._title))

    # -- the end -----------------------------------------------------------------------------

    @property
    def _run_id(self) -> str:
        """The run's id: it stays the same when the workflow continues as new."""
        return workflow.info().first_execution_run_id

    async def _end_well(self, request: BackfillRequest) -> BackfillResult:
        self._enter(Phase.CLEANING_UP)
        finished = await self._finish(request, RunStatus.COMPLETED, None)
        return self._result(request, finished, RunStatus.COMPLETED)

    async def _end_badly(self, request: BackfillRequest, error: BaseException) -> BackfillResult:
        cancelled = is_cancelled_exception(error)
        if not cancelled and not isinstance(error, (ActivityError, ApplicationError)):
            raise error  # a defect in a workflow: Temporal retries the task until it is mended
        if cancelled:
            self._settle(RunStatus.CANCELLING)
        self._enter(Phase.CLEANING_UP)
        status = RunStatus.CANCELLED if cancelled else RunStatus.FAILED
        reason = self._cancel_reason if cancelled else _message(error)
        finished = await self._finish(request, status, reason)
        if not cancelled:
            _fail(error)
        if self._cancel_reason is None:
            raise error  # cancelled by Temporal: the workflow ends as cancelled
        return self._result(request, finished, status)

    async def _finish(
        self, request: BackfillRequest, status: RunStatus, error: str | None
    ) -> Finished:
        finish = FinishRun(
            run_id=self._run_id, projection=request.projection, status=status, error=error or None
        )
        # A cancellation comes too late now: whatever happens, the lease must be given up.
        finished = await uncancelled(
            workflow.execute_activity_method(
                LifecycleActivities.finish_run, finish, summary=f"end: {status}", **step()
            )
        )
        if finished.report is not None:
            self._meter.observe(finished.report)
        self._meter.phase = Phase.DONE
        self._settle(status)
        return finished

    def _result(
        self, request: BackfillRequest, finished: Finished, status: RunStatus
    ) -> BackfillResult:
        return BackfillResult(
            status=status,
            projection=request.projection,
            run_id=self._run_id,
            generation=finished.generation,
            position=finished.position,
            events_processed=self._meter.events_processed,
            reason=self._cancel_reason or None,
        )


def _message(error: BaseException) -> str:
    cause = error.cause if isinstance(error, ActivityError) and error.cause else error
    return str(getattr(cause, "message", cause))


def _fail(error: BaseException) -> NoReturn:
    """Fails the workflow with the activity's own words, which is what people look for."""
    if isinstance(error, ActivityError) and isinstance(error.cause, ApplicationError):
        cause = error.cause
        raise ApplicationError(cause.message, type=cause.type, non_retryable=True) from error
    raise error
