"""Runs from Python: started under a workflow id, and waited for."""

from __future__ import annotations

from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.exceptions import CancelledError as WorkflowCancelled

from refold.errors import RefoldError
from refold.manager.connection import Connection
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import OnProgress, telling
from refold.messages.markdown import escaped
from refold.messages.run.life import BackfillResult
from refold.messages.run.preview import Preview
from refold.messages.run.status import RunStatus
from refold.requests.runs import BackfillRequest, Request, RollbackRequest


class RunFailed(RefoldError):
    """A run ended in failure; the message is the workflow's."""


class AlreadyRunning(RefoldError):
    """A run with the same workflow id has not ended yet."""


__all__ = ["AlreadyRunning", "RunFailed", "Runs", "StartedRun"]


class Runs:
    """Starts backfills, rebuilds and rollbacks, and waits for their end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def backfill(
        self,
        name: str,
        request: BackfillRequest | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> BackfillResult:
        """Backfills a projection and waits for the end.

        Args:
            name: The projection.
            request: What is asked for; the projection's own settings when left out.
            on_progress: See `result`.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_backfill(name, request), on_progress)

    async def rebuild(
        self,
        name: str,
        request: BackfillRequest | None = None,
        *,
        on_progress: OnProgress | None = None,
    ) -> BackfillResult:
        """Rebuilds a projection into a new table, swaps it in, and waits for the end.

        Args:
            name: The projection.
            request: What is asked for; the projection's own settings when left out.
            on_progress: See `result`.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_rebuild(name, request), on_progress)

    async def start_backfill(self, name: str, request: BackfillRequest | None = None) -> StartedRun:
        """Starts `Backfill` under its default workflow id and returns at once."""
        return await self.begin("Backfill", f"backfill/{name}", name, request)

    async def start_rebuild(self, name: str, request: BackfillRequest | None = None) -> StartedRun:
        """Starts `Rebuild` under its default workflow id and returns at once."""
        return await self.begin("Rebuild", f"rebuild/{name}", name, request)

    async def rollback_projection(
        self,
        name: str,
        to_version: int | None = None,
        *,
        request: RollbackRequest | None = None,
        on_progress: OnProgress | None = None,
    ) -> BackfillResult:
        """Puts a replaced generation live again, with all events since, and waits for the end.

        Args:
            name: The projection.
            to_version: The version that built the generation; None for the one replaced last.
            request: Instead: all that a rollback can be asked for.
            on_progress: See `result`.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        wanted = request or RollbackRequest(projection=name, to_version=to_version)
        return await self.result(await self.start_rollback(name, wanted), on_progress)

    async def start_rollback(self, name: str, request: RollbackRequest | None = None) -> StartedRun:
        """Starts `Rollback` under its default workflow id and returns at once."""
        wanted = request or RollbackRequest(projection=name)
        return await self.begin("Rollback", f"rollback/{name}", name, wanted)

    async def plan(self, kind: str, name: str, request: BackfillRequest | None = None) -> Preview:
        """What a backfill or rebuild would do; nothing is done.

        Args:
            kind: ``Backfill`` or ``Rebuild``.
            name: The projection.
            request: As for the run itself.

        Raises:
            RunFailed: It would be refused; the message says why.
        """
        whole = request or BackfillRequest(projection=name)
        dry = whole.model_copy(update={"dry_run": True})
        result = await self.result(await self.begin(kind, f"plan/{name}", name, dry))
        assert result.plan is not None
        return result.plan

    async def result(
        self, run: StartedRun, on_progress: OnProgress | None = None
    ) -> BackfillResult:
        """Waits for a run's end.

        Args:
            run: The run.
            on_progress: A plain or async function that is given the run's `Progress` about every
                half second when it has changed, and at the end. A plain one must not block. What
                it raises is logged, and harms nothing.

        Raises:
            RunFailed: It failed, was refused, terminated or timed out.
        """
        handle = self._connection.client.get_workflow_handle(
            run.workflow_id,
            first_execution_run_id=run.run_id,
            run_id=run.run_id,
            result_type=BackfillResult,
        )
        try:
            async with telling(self._connection, run, on_progress):
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

    async def begin(
        self, kind: str, workflow_id: str, name: str, request: Request | None
    ) -> StartedRun:
        """Starts a workflow and returns at once.

        Args:
            kind: The workflow, such as ``Rebuild``.
            workflow_id: Its workflow id.
            name: The projection.
            request: What it is asked for; the projection and nothing else when left out.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
        """
        whole = (request or Request(projection=name)).model_copy(update={"projection": name})
        try:
            handle = await self._connection.client.start_workflow(
                kind,
                whole.model_dump(mode="json", exclude_none=True),
                id=workflow_id,
                task_queue=self._connection.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=f"{kind} of {escaped(name)}",
            )
        except WorkflowAlreadyStartedError as error:
            raise AlreadyRunning(
                f"workflow {workflow_id!r} is running already (run {error.run_id}): "
                f"`refold watch {name}` follows it, `refold cancel {name}` stops it"
            ) from None
        return StartedRun(workflow_id, handle.first_execution_run_id or "")
