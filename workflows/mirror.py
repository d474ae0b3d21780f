"""Mirror: copies events from elsewhere into the log until it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from refold.workflows.base.listing import Listed
from refold.workflows.base.segments import FIRST_SECONDS, is_long, next_seconds
from refold.workflows.base.step_listener import StepListener
from refold.workflows.base.steps import heed_cancellation, step, uncancelled

with workflow.unsafe.imports_passed_through():
    from refold.activities.mirror import MirrorActivities
    from refold.errors import InvalidRequest
    from refold.errors.short_failure import ShortFailure
    from refold.messages.mirror_markdown import as_markdown
    from refold.messages.mirrors import (
        EndMirror,
        MirrorLimits,
        MirrorProgress,
        MirrorReport,
        MirrorSegment,
        MirrorState,
        MirrorStatus,
    )
    from refold.messages.search_attributes import KIND, REQUESTED_BY, STATUS
    from refold.requests.fairness import fairness_key
    from refold.requests.limits import Limits
    from refold.requests.mirrors import MirrorRequest
    from refold.requests.validation import accept_limits, accept_request, in_words

_LONGEST = timedelta(minutes=10)


@workflow.defn(name="Mirror")
class Mirror(StepListener):
    """Copies events, segment by segment: paused, resumed, limited and cancelled by signals."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        continued = workflow.info().continued_run_id is not None and len(inputs) > 1
        # Untyped, and decoded here: see `workflows.base.run`.
        self._inputs = inputs[:1] if continued else inputs
        self._refused: str | None = None
        try:
            request = accept_request(self._inputs, MirrorRequest)
        except InvalidRequest as error:
            self._refused = str(error)
            request = MirrorRequest(mirror="refused")
        state = MirrorState(progress=_first(request), requested_by=request.requested_by)
        if continued:
            state = MirrorState.model_validate(inputs[1])
        super().__init__(state.progress.failing)
        self._progress = state.progress
        self._paused = state.paused
        self._heartbeat_seconds = state.heartbeat_seconds
        self._requested_by = state.requested_by
        self._listed = Listed()
        self._segment: asyncio.Task[MirrorReport] | None = None
        self._interrupted = False
        self._cancelled = False

    @property
    def fairness_key(self) -> str:
        """With whom its activities take turns."""
        return fairness_key(self._progress.mirror)

    # -- queries, signals, updates -------------------------------------------------------------

    @workflow.query(name="status", description="Where the mirror is in its life, in one word")
    def status(self) -> str:
        """See `refold.messages.mirrors.MirrorStatus`."""
        return self._progress.status.value

    @workflow.query(name="progress", description="How far it is, how fast, and why it stands")
    def progress(self) -> MirrorProgress:
        """See `refold.messages.mirrors.MirrorProgress`."""
        return self._progress

    @workflow.signal(name="pause", description="Copy no further until it is resumed")
    def pause(self, *said: Any) -> None:
        """Pauses; the batch in hand is committed or never was."""
        if not self._paused and not self._cancelled:
            self._paused = True
            self._interrupt(MirrorStatus.PAUSING)

    @workflow.signal(name="resume", description="Go on after a pause, or after a failure")
    def resume(self, *said: Any) -> None:
        """Goes on at the cursor."""
        self._paused = False
        if self._progress.error is not None:
            self._change(error=None)

    @workflow.signal(name="cancel", description="End the mirror; its cursor stays. Reason optional")
    def cancel(self, *said: Any) -> None:
        """Ends the mirror: what was copied stays, and one that is started again goes on there."""
        if not self._cancelled:
            self._cancelled = True
            self._change(reason=in_words(said) or None)
            self._interrupt(MirrorStatus.CANCELLING)

    @workflow.update(
        name="set_limits", description="batch_size, events_per_second (0: no limit); each optional"
    )
    def set_limits(self, *inputs: Any) -> MirrorLimits:
        """Changes limits from the next batch on; answers with those that it goes by then."""
        given = _limits(inputs).model_dump(exclude_none=True)
        self._change(limits=self._progress.limits.model_copy(update=given))
        self._interrupt(None)
        return self._progress.limits

    @set_limits.validator
    def _refuse_wrong_limits(self, *inputs: Any) -> None:
        try:
            _limits(inputs)
        except InvalidRequest as error:
            raise ShortFailure(str(error), type="InvalidRequest", non_retryable=True) from None

    def _interrupt(self, status: MirrorStatus | None) -> None:
        if self._segment is None or self._interrupted:
            return
        self._interrupted = True
        if status is not None:
            self._change(status=status)
        self._segment.cancel()

    # -- the run -------------------------------------------------------------------------------

    @workflow.run
    async def run(self, *inputs: Any) -> MirrorProgress:
        """Takes one `MirrorRequest`; it runs until it is cancelled, and returns how far it was."""
        if self._refused is not None:
            raise ShortFailure(self._refused, type="InvalidRequest", non_retryable=True)
        self._show()
        try:
            await self._copy_on()
        except asyncio.CancelledError:
            await uncancelled(self._end())
            raise
        await self._end()
        return self._progress

    async def _copy_on(self) -> None:
        """Copies until the mirror is cancelled."""
        seconds = FIRST_SECONDS
        while not self._cancelled:
            heed_cancellation()
            await self._continue_if_long()
            if self._stands_still:
                if self._progress.error is None:
                    self._change(status=MirrorStatus.PAUSED)
                await workflow.wait_condition(
                    lambda: not self._stands_still or self._cancelled or is_long()
                )
                seconds = FIRST_SECONDS
                continue
            report = await self._one_segment(seconds)
            if report is None:
                seconds = FIRST_SECONDS
                continue
            moved = report.events > 0 or not report.caught_up
            seconds = next_seconds(seconds, moved=moved)

    @property
    def _stands_still(self) -> bool:
        return self._paused or self._progress.error is not None

    async def _one_segment(self, seconds: float) -> MirrorReport | None:
        """Copies for one segment; None when it was interrupted, or failed."""
        self._interrupted = False
        if self._progress.status not in (MirrorStatus.LIVE, MirrorStatus.CATCHING_UP):
            self._change(status=MirrorStatus.STARTING)
        self._segment = asyncio.create_task(self._copy(seconds))
        try:
            report = await self._segment
        except (asyncio.CancelledError, ActivityError) as error:
            heed_cancellation()  # by Temporal: the workflow itself is cancelled
            if isinstance(error, ActivityError) and not is_cancelled_exception(error):
                self._fail(error)
            elif not self._interrupted:
                raise
            return None
        finally:
            self._segment = None
        self._heartbeat_seconds = report.heartbeat_seconds
        if report.is_listed:
            self._listed.turn_on({"mirror": self._progress.mirror})
        before, self._progress = self._progress.status, self._progress.after(report)
        if self._interrupted:
            self._change(status=before)
            return None
        self._show()
        return report

    async def _copy(self, seconds: float) -> MirrorReport:
        heartbeat = () if self._heartbeat_seconds is None else (self._heartbeat_seconds,)
        return await workflow.execute_activity_method(
            MirrorActivities.copy_events,
            MirrorSegment(
                mirror=self._progress.mirror,
                limits=self._progress.limits,
                seconds=seconds,
                was_live=self._progress.status is MirrorStatus.LIVE,
                requested_by=self._requested_by,
            ),
            summary=f"copy for {seconds:.0f} s",
            **step(*heartbeat, longest=_LONGEST),
        )

    def _fail(self, error: ActivityError) -> None:
        cause = error.cause if isinstance(error.cause, ApplicationError) else None
        kind = (cause.type or "") if cause else type(error.cause).__name__
        message = cause.message if cause else str(error.cause)
        # A name that is not known at first is a slip of the pen; later, the worker has other code.
        if kind == "UnknownMirror" and self._progress.as_of is None:
            self._change(status=MirrorStatus.FAILED)
            raise ShortFailure(message, type=kind, non_retryable=True) from None
        self._progress = self._progress.stopped(kind, message, workflow.now())
        self._show()

    async def _end(self) -> None:
        await workflow.execute_activity_method(
            MirrorActivities.end_mirror,
            EndMirror(mirror=self._progress.mirror),
            summary="cancelled",
            **step(),
        )
        self._change(status=MirrorStatus.CANCELLED)

    async def _continue_if_long(self) -> None:
        if not is_long():
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._cancelled:
            return
        state = MirrorState(
            progress=self._progress,
            paused=self._paused,
            heartbeat_seconds=self._heartbeat_seconds,
            requested_by=self._requested_by,
        )
        workflow.continue_as_new(args=[*self._inputs, state.model_dump(mode="json")])

    def _change(self, **changes: Any) -> None:
        self._progress = self._progress.model_copy(update=changes)
        self._show()

    def _heard(self) -> None:
        self._change(failing=self._failures.latest, waiting_for=self._waits.waiting_for)

    def _show(self) -> None:
        workflow.set_current_details(as_markdown(self._progress))
        kind, status = workflow.info().workflow_type, self._progress.status.value
        self._listed.show({KIND: kind, STATUS: status, REQUESTED_BY: self._requested_by})


def _first(request: MirrorRequest) -> MirrorProgress:
    return MirrorProgress(
        mirror=request.mirror,
        status=MirrorStatus.STARTING,
        limits=MirrorLimits(
            batch_size=request.batch_size, events_per_second=request.events_per_second
        ),
    )


def _limits(inputs: Sequence[Any]) -> Limits:
    limits = accept_limits(inputs)
    if limits.max_concurrency is not None:
        raise InvalidRequest(
            "max_concurrency: expected batch_size or events_per_second: a mirror writes one batch "
            "after the other, as the source has them"
        )
    return limits
