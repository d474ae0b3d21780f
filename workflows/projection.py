"""Projection: a read model that keeps up with the log until it is stopped."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from refold.workflows.base.listing import Listed
from refold.workflows.base.segments import FIRST_SECONDS, is_long, next_seconds
from refold.workflows.base.steps import heed_cancellation, step
from refold.workflows.live.requests import Requests

with workflow.unsafe.imports_passed_through():
    from refold.activities.live import LiveActivities
    from refold.errors import InvalidRequest
    from refold.errors.codes import code_of
    from refold.errors.short_failure import TRANSIENT, ShortFailure, is_transient
    from refold.messages.live import (
        AUTO_START,
        LiveError,
        LiveHealth,
        LiveReport,
        LiveRequest,
        LiveSegment,
        LiveState,
        LiveStatus,
        SnapshotTally,
        auto_start_id,
    )
    from refold.messages.live_markdown import as_markdown
    from refold.messages.search_attributes import KIND, PROJECTION, STATUS
    from refold.messages.snapshots import SnapshotInfo
    from refold.messages.step_failures import StepFailures
    from refold.projection.snapshot_policy import MADE_BY_ITSELF
    from refold.requests.runs import BackfillRequest, SnapshotRequest
    from refold.requests.validation import accept_request
    from refold.system_events.events import ProjectionFailed, ProjectionStopped


# How often it looks again while there is no generation to follow.
_LOOK_AGAIN = timedelta(seconds=10)


# How often it is tried again after a failure without anybody's doing; each pause is twice the last.
_ATTEMPTS = 5
_FIRST_PAUSE = timedelta(seconds=10)


@workflow.defn(name="Projection")
class Projection(Requests):
    """Follows a projection's active generation: started, stopped and restarted by signals.

    It carries out what system events ask for, too, even while it is stopped.
    """

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        continued = workflow.info().continued_run_id is not None and len(inputs) > 1
        # Untyped, and decoded here: see `workflows.base.run`.
        self._inputs = inputs[:1] if continued else inputs
        self._refused: str | None = None
        try:
            request = accept_request(self._inputs, LiveRequest)
        except InvalidRequest as error:
            self._refused = str(error)
            request = LiveRequest(projection="")
        first = LiveHealth(projection=request.projection, status=LiveStatus.STARTING)
        state = LiveState(stopped=request.stopped, health=first)
        if continued:
            state = LiveState.model_validate(inputs[1])
        super().__init__(request.projection, state.system_events, state.restart_at)
        self._stopped = state.stopped
        self._started = state.started
        self._rebuilt_to = state.rebuilt_to
        self._tally = state.tally
        self._health = state.health
        self._failures = StepFailures(state.health.failing)
        self._listed = Listed()
        self._segment: asyncio.Task[LiveReport] | None = None
        self._interrupted = False
        self._again = False

    # -- queries and signals -----------------------------------------------------------------

    @workflow.query(name="status", description="Where the projection is in its life, in one word")
    def status(self) -> str:
        """See `refold.messages.live.LiveStatus`."""
        return self._health.status.value

    @workflow.query(name="health", description="Status, checkpoint, head, and the last error")
    def health(self) -> LiveHealth:
        """See `refold.messages.live.LiveHealth`."""
        return self._health

    @workflow.query(name="checkpoint", description="The position up to which events are applied")
    def checkpoint(self) -> int | None:
        """As of the latest segment; the database knows it to the moment."""
        return self._health.report.position if self._health.report else None

    @workflow.query(name="snapshots", description="The projection's snapshots, the newest first")
    def snapshots(self) -> list[SnapshotInfo]:
        """As of the latest segment; `refold snapshots list` asks the database."""
        return self._health.report.snapshots if self._health.report else []

    @workflow.signal(name="start", description="Follow the log (again); nothing if it does")
    def start(self, *said: Any) -> None:
        """Goes on after a stop."""
        self._stopped = False

    @workflow.signal(name="stop", description="Finish the batch in hand, and follow no further")
    def stop(self, *said: Any) -> None:
        """Stops at the next batch's end; the checkpoint stays."""
        self._stopped = True
        self._stops += 1
        self._restart_at = None
        self._interrupt()

    @workflow.signal(name="restart", description="Try again at once, at the checkpoint")
    def restart(self, *said: Any) -> None:
        """Goes on at the checkpoint, also after a failure."""
        self._stopped = False
        self._again = True
        self._interrupt()

    def _interrupt(self) -> None:
        if self._segment is not None:
            self._interrupted = True
            self._segment.cancel()

    # -- the run -----------------------------------------------------------------------------

    @workflow.run
    async def run(self, *inputs: Any) -> None:
        """Takes one `LiveRequest`; it runs until it is cancelled or terminated."""
        if self._refused is not None:
            raise ShortFailure(self._refused, type="InvalidRequest", non_retryable=True)
        self._show()
        self._begin_waiting_for_restart()
        seconds = FIRST_SECONDS
        while True:
            heed_cancellation()
            await self._continue_if_long()
            if self._stopped:
                await self._stand_still()
                seconds = FIRST_SECONDS
                continue
            self._again = False
            report = await self._follow(seconds)
            if report is None:
                seconds = FIRST_SECONDS
                continue
            await self._rebuild_if_wanted(report)
            await self._snapshot_if_due(report)
            moved = report.events > 0 or report.status is LiveStatus.CATCHING_UP
            seconds = next_seconds(seconds, moved=moved)
            if report.status is LiveStatus.NEEDS_REBUILD and not moved and not report.followed:
                await self._pause(_LOOK_AGAIN)

    async def _stand_still(self) -> None:
        """Waits until the projection is started; leaves a long history before."""
        self._settle(LiveStatus.STOPPED)
        if self._started:
            self._started = False
            await self._record(ProjectionStopped(projection=self._name), workflow.uuid4().hex)
        await workflow.wait_condition(
            lambda: not self._stopped or is_long() or self._unknown is not None
        )
        if self._stopped and self._unknown is not None:
            # Whoever has asked by event is answered; it was only begun to carry that out.
            await workflow.wait_condition(workflow.all_handlers_finished)
            self._settle(LiveStatus.FAILED)
            raise ShortFailure(self._unknown, type="UnknownProjection", non_retryable=True)

    async def _follow(self, seconds: float) -> LiveReport | None:
        """Follows for one segment; None when it was interrupted, or failed."""
        self._interrupted = False
        self._segment = asyncio.create_task(self._one_segment(seconds))
        try:
            report = await self._segment
        except (asyncio.CancelledError, ActivityError) as error:
            heed_cancellation()  # by Temporal: the workflow itself is cancelled
            if isinstance(error, ActivityError) and not is_cancelled_exception(error):
                await self._fail(error)
            elif self._interrupted:
                self._started = True
            else:
                raise
            return None
        finally:
            self._segment = None
        self._started = True
        self._learn(report.system_events)
        report = report.model_copy(update={"system_events": []})
        self._health = self._health.model_copy(update={"report": report, "error": None})
        self._settle(report.status)
        return report

    async def _one_segment(self, seconds: float) -> LiveReport:
        return await workflow.execute_activity_method(
            LiveActivities.follow_live,
            LiveSegment(
                projection=self._name,
                seconds=seconds,
                started=None if self._started else workflow.uuid4().hex,
                known=self._known,
                tally=self._tally,
            ),
            summary=f"follow for {seconds:.0f} s",
            **step(longest=timedelta(minutes=10)),
        )

    async def _fail(self, error: ActivityError) -> None:
        cause = error.cause if isinstance(error.cause, ApplicationError) else None
        # A name that is not known at first is a slip of the pen; later, the worker has other code.
        first = self._health.report is None and not self._recent
        if first and cause is not None and cause.type == "UnknownProjection":
            self._settle(LiveStatus.FAILED)
            raise ShortFailure(cause.message, type=cause.type, non_retryable=True) from None
        attempts = (self._health.error.attempts if self._health.error else 0) + 1
        pause = _FIRST_PAUSE * 2 ** (attempts - 1) if attempts < _ATTEMPTS else None
        place = cause.details[0] if cause is not None and cause.details else {}
        if not isinstance(place, dict) or not place.keys() <= LiveError.model_fields.keys():
            place = {}
        failed = LiveError(
            type=cause.type or "" if cause else type(error.cause).__name__,
            message=cause.message if cause else str(error.cause),
            at=workflow.now(),
            **{**place, TRANSIENT: is_transient(error.cause)},
            attempts=attempts,
            next_attempt_at=None if pause is None else workflow.now() + pause,
        )
        self._health = self._health.model_copy(update={"error": failed})
        self._settle(LiveStatus.FAILED)
        self._started = False
        await self._record(_as_event(self._name, failed), workflow.uuid4().hex)
        await self._pause(pause)

    async def _rebuild_if_wanted(self, report: LiveReport) -> None:
        """Starts a rebuild once for each version: one that fails is for a person to look at."""
        wanted = report.rebuild_to
        if wanted is not None and wanted > (self._rebuilt_to or 0):
            request = BackfillRequest(projection=self._name, requested_by=AUTO_START)
            # Workers give this rebuild the same id: the first one starts it, the others do not.
            own_id = auto_start_id(self._name, wanted)
            once = own_id if workflow.patched("auto-start-once") else None
            if await self._start_run("Rebuild", request, asked=False, once=once) or once:
                self._rebuilt_to = wanted

    async def _snapshot_if_due(self, report: LiveReport) -> None:
        """Starts a snapshot when one is due; after a failure, the count of events begins anew."""
        self._tally = report.tally or self._tally
        if report.tally is None or not report.tally.due:
            return
        request = SnapshotRequest(projection=self._name, requested_by=MADE_BY_ITSELF)
        if await self._start_run("Snapshot", request, asked=False):
            here = report.tally.upto
            self._tally = SnapshotTally(since=here, upto=here)

    async def _pause(self, time: timedelta | None) -> None:
        """Waits for so long, or until something is asked for or a run has ended; None: no limit."""
        self._run_ended = False
        try:
            await workflow.wait_condition(
                lambda: self._again or self._stopped or self._run_ended, timeout=time
            )
        except TimeoutError:
            return

    async def _continue_if_long(self) -> None:
        if not is_long():
            return
        # A request that is being carried out would be forgotten half-way.
        await workflow.wait_condition(workflow.all_handlers_finished)
        state = LiveState(
            stopped=self._stopped,
            started=self._started,
            restart_at=self._restart_at,
            rebuilt_to=self._rebuilt_to,
            tally=self._tally,
            health=self._health,
            system_events=self._recent,
        )
        workflow.continue_as_new(args=[*self._inputs, state.model_dump(mode="json")])

    def _settle(self, status: LiveStatus) -> None:
        self._health = self._health.model_copy(update={"status": status})
        self._show()

    def _heard(self) -> None:
        heard = {"failing": self._failures.latest, "waiting_for": self._waits.waiting_for}
        self._health = self._health.model_copy(update=heard)
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(as_markdown(self._health))
        report = self._health.report
        if report is not None and report.is_listed:
            self._listed.turn_on({"version": report.version})
        self._listed.show(
            {
                PROJECTION: self._name or None,
                KIND: workflow.info().workflow_type,
                STATUS: self._health.status.value,
            }
        )


def _as_event(name: str, error: LiveError) -> ProjectionFailed:
    return ProjectionFailed(
        projection=name,
        error_type=error.type,
        code=code_of(error.type),
        is_transient=error.transient,
        message=error.message,
        position=error.position,
        event_type=error.event_type,
        stream_id=error.stream_id,
        retry_attempt=error.attempts - 1,
        next_attempt_at=error.next_attempt_at,
    )
