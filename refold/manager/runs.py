"""Runs from Python: started under a workflow id, and waited for."""

from __future__ import annotations

from dataclasses import dataclass

from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.exceptions import CancelledError as WorkflowCancelled

from refold.errors import RefoldError
from refold.manager.live import LiveManager
from refold.messages.markdown import escaped
from refold.messages.run.life import BackfillResult
from refold.messages.run.status import RunStatus
from refold.requests.runs import Request


class RunFailed(RefoldError):
    """A run ended in failure; the message is the workflow's."""


class AlreadyRunning(RefoldError):
    """A run with the same workflow id has not ended yet."""


@dataclass(frozen=True)
class StartedRun:
    """A run that has been started.

    Attributes:
        workflow_id: Its workflow id.
        run_id: Its run id, as in ``refold.runs``.
    """

    workflow_id: str
    run_id: str


class RunManager(LiveManager):
    """The part of `refold.manager.ProjectionManager` that starts runs and waits for their end."""

    async def result(self, run: StartedRun) -> BackfillResult:
        """Waits for a run's end.

        Raises:
            RunFailed: It failed, was refused, terminated or timed out.
        """
        handle = self._client.get_workflow_handle(
            run.workflow_id,
            first_execution_run_id=run.run_id,
            run_id=run.run_id,
            result_type=BackfillResult,
        )
        try:
            result: BackfillResult = await handle.result()
            return result
        except WorkflowFailureError as error:
            cause = error.cause
            if isinstance(cause, WorkflowCancelled):
                name = run.workflow_id.partition("/")[2]
                return BackfillResult(
                    status=RunStatus.CANCELLED, projection=name, run_id=run.run_id
                )
            message = cause.message if isinstance(cause, ApplicationError) else str(cause)
            raise RunFailed(message) from error

    async def _start(
        self, kind: str, workflow_id: str, name: str, request: Request | None
    ) -> StartedRun:
        whole = (request or Request(projection=name)).model_copy(update={"projection": name})
        try:
            handle = await self._client.start_workflow(
                kind,
                whole.model_dump(mode="json", exclude_none=True),
                id=workflow_id,
                task_queue=self._task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=f"{kind} of {escaped(name)}",
            )
        except WorkflowAlreadyStartedError as error:
            raise AlreadyRunning(
                f"workflow {workflow_id!r} is running already (run {error.run_id}): "
                f"`refold watch {name}` follows it, `refold cancel {name}` stops it"
            ) from None
        return StartedRun(workflow_id, handle.first_execution_run_id or "")
