"""What is asked of a projection by system events: each a signal of the event's name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    FailureError,
    WorkflowAlreadyStartedError,
)
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from refold.workflows.live.record import Recording

with workflow.unsafe.imports_passed_through():
    from refold.errors import InvalidRequest, ProjectionBusy, UnknownProjection
    from refold.errors.codes import code_of
    from refold.messages.recorded_event import RecordedEvent
    from refold.requests.fairness import fairness_key
    from refold.requests.runs import BackfillRequest, Request, RollbackRequest
    from refold.system_events.acceptance import accept_event
    from refold.system_events.events import (
        ProjectionBackfillFailed,
        ProjectionBackfillRequested,
        ProjectionRequest,
        ProjectionRestartRequested,
        ProjectionRollbackRequested,
    )

E = TypeVar("E", bound=ProjectionRequest)

_LONGEST_KEY = 200


class Requests(Recording):
    """Base of the workflow that carries out what system events ask for.

    A run that is asked for is a workflow of its own: it goes on whatever becomes of this workflow,
    and records how it ends.
    """

    def __init__(
        self, name: str, recent: Sequence[RecordedEvent], restart_at: datetime | None
    ) -> None:
        super().__init__(name, recent)
        self._restart_at = restart_at
        self._stops = 0
        # What it waits for may be there now.
        self._run_ended = False
        self._unknown: str | None = None
        self._watching: set[asyncio.Task[None]] = set()

    def restart(self, *said: Any) -> None:
        """Goes on at the checkpoint."""
        raise NotImplementedError

    # -- signals -----------------------------------------------------------------------------

    @workflow.signal(
        name="ProjectionBackfillRequested", description="Backfill; the fields of a backfill request"
    )
    async def backfill_requested(self, *inputs: Any) -> None:
        """Starts a `Backfill`."""
        event = await self._accepted_event(ProjectionBackfillRequested, "Backfill", inputs)
        if event is not None:
            fields = event.model_dump(mode="json", exclude_none=True)
            await self._start_run("Backfill", BackfillRequest.model_validate(fields))

    @workflow.signal(
        name="ProjectionRollbackRequested",
        description="Roll back; the fields of a rollback request",
    )
    async def rollback_requested(self, *inputs: Any) -> None:
        """Starts a `Rollback`."""
        event = await self._accepted_event(ProjectionRollbackRequested, "Rollback", inputs)
        if event is not None:
            fields = event.model_dump(mode="json", exclude_none=True)
            await self._start_run("Rollback", RollbackRequest.model_validate(fields))

    @workflow.signal(
        name="ProjectionRestartRequested", description="Restart, after `delay_seconds` if given"
    )
    async def restart_requested(self, *inputs: Any) -> None:
        """Restarts following, now or later."""
        stops = self._stops
        event = await self._accepted_event(ProjectionRestartRequested, "Projection", inputs)
        # A stop that has come meanwhile outweighs the restart.
        if event is None or self._stops != stops:
            return
        if not event.delay_seconds:
            self.restart()
            return
        self._restart_at = workflow.now() + timedelta(seconds=event.delay_seconds)
        self._begin_waiting_for_restart()

    async def _accepted_event(
        self, kind: type[E], workflow_type: str, inputs: Sequence[Any]
    ) -> E | None:
        """The event, recorded; None when it cannot be accepted or was published before."""
        # `publish` gives each publication a key; a signal by hand has none and always counts.
        key = workflow.uuid4().hex
        if len(inputs) > 1 and isinstance(inputs[1], str) and len(inputs[1]) <= _LONGEST_KEY:
            key = inputs[1]
        given = inputs[0] if inputs else {}
        try:
            event = accept_event(given, kind, self._name, default_id=str(workflow.uuid4()))
        except InvalidRequest as error:
            correlation_id = given.get("correlation_id") if isinstance(given, dict) else None
            await self._refuse(
                workflow_type,
                correlation_id if isinstance(correlation_id, str) else None,
                str(error),
                key,
                InvalidRequest.__name__,
            )
            return None
        return event if await self._record(event, key) else None

    # -- carrying out ------------------------------------------------------------------------

    async def _start_run(
        self, kind: str, request: Request, *, asked: bool = True, once: str | None = None
    ) -> bool:
        """Starts a run as a workflow of its own, under its default id.

        Args:
            kind: The workflow type.
            request: What it is started with.
            asked: Whether somebody has asked for it, who is answered when it cannot be started.
            once: An id under which there is never a second run; None for the default id.

        Returns:
            False when one is running under that id, or has been, if it is for once.
        """
        workflow_id = once or f"{kind.lower()}/{self._name}"
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        if once is not None:
            reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            child = await workflow.start_child_workflow(
                kind,
                request.model_dump(mode="json", exclude_none=True),
                id=workflow_id,
                id_reuse_policy=reuse,
                parent_close_policy=ParentClosePolicy.ABANDON,
                cancellation_type=ChildWorkflowCancellationType.ABANDON,
                static_summary=f"{kind} of {self._name}",
                priority=Priority(
                    fairness_key=fairness_key(self._name, getattr(request, "tenant", None))
                ),
            )
        except WorkflowAlreadyStartedError:
            why = f"workflow {workflow_id!r} is running already: wait until it ends, or cancel it"
            if asked:
                await self._refuse(
                    kind,
                    request.correlation_id,
                    why,
                    workflow.uuid4().hex,
                    ProjectionBusy.__name__,
                )
            return False
        self._watch(self._learn_the_end(child))
        return True

    async def _refuse(
        self, kind: str, correlation_id: str | None, why: str, key: str, error_type: str
    ) -> None:
        failed = ProjectionBackfillFailed(
            projection=self._name,
            correlation_id=correlation_id,
            kind=kind,
            status="failed",
            error=why,
            error_type=error_type,
            code=code_of(error_type),
            is_transient=error_type == ProjectionBusy.__name__,
        )
        await self._record(failed, key)

    async def _learn_the_end(self, child: Any) -> None:
        try:
            await child
        except FailureError as error:  # the run has recorded it, with its reason
            self._note_unknown(error)
        self._run_ended = True
        with suppress(ActivityError):  # the next segment brings it
            await self._catch_up()

    def _note_unknown(self, error: FailureError) -> None:
        """Notes that no worker has the projection: then nobody need wait for more of it."""
        cause = error.cause
        if not isinstance(cause, ApplicationError) or cause.type != UnknownProjection.__name__:
            return
        if workflow.patched("unknown-ends"):
            self._unknown = cause.message

    def _begin_waiting_for_restart(self) -> None:
        self._watch(self._restart_then(self._restart_at))

    async def _restart_then(self, at: datetime | None) -> None:
        if at is None:
            return
        await workflow.sleep(max(timedelta(0), at - workflow.now()), summary="restart requested")
        # Unless a later request has come, or a stop: they count.
        if self._restart_at == at:
            self._restart_at = None
            self.restart()

    def _watch(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)
