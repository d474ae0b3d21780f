"""Runs from Python: started under a workflow id, and waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from temporalio.client import WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import CancelledError as WorkflowCancelled
from temporalio.exceptions import WorkflowAlreadyStartedError

from refold.errors import AlreadyRunning, InvalidRequest, ProjectionBusy, RunFailed
from refold.manager.connection import Connection
from refold.manager.run.asked import request_of
from refold.manager.run.litter import forget, forget_if_refused, require_free
from refold.manager.run.outcome import raise_failure
from refold.manager.run.started_run import StartedRun
from refold.manager.run.watching import OnProgress, telling
from refold.messages.markdown import escaped
from refold.messages.run.life import BackfillResult
from refold.messages.run.preview import Preview
from refold.messages.run.status import RunStatus
from refold.requests.fields import BackfillFields, RollbackFields
from refold.requests.runs import BackfillRequest, Request, RollbackRequest

__all__ = ["AlreadyRunning", "RunFailed", "Runs", "StartedRun"]


# What a plan can be made of beforehand.
_PLANNED = ("Backfill", "Rebuild")


class Runs:
    """Starts backfills, rebuilds and rollbacks, and waits for their end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def backfill(
        self,
        name: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        *,
        on_progress: OnProgress | None = None,
        **fields: Unpack[BackfillFields],
    ) -> BackfillResult:
        """Backfills a projection and waits for the end.

        Args:
            name: The projection.
            request: What is asked for, as a request or its fields; the projection's own settings
                when left out.
            on_progress: See `result`.
            **fields: Instead of a request: its fields.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_backfill(name, request, **fields), on_progress)

    async def rebuild(
        self,
        name: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        *,
        on_progress: OnProgress | None = None,
        **fields: Unpack[BackfillFields],
    ) -> BackfillResult:
        """Rebuilds a projection into a new table, swaps it in, and waits for the end.

        Args:
            name: The projection.
            request: What is asked for, as a request or its fields; everything when left out.
            on_progress: See `result`.
            **fields: Instead of a request: its fields.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_rebuild(name, request, **fields), on_progress)

    async def start_backfill(
        self,
        name: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        **fields: Unpack[BackfillFields],
    ) -> StartedRun:
        """Starts `Backfill` under its default workflow id and returns at once.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection; nothing is started.
        """
        wanted = request_of(BackfillRequest, name, request, fields)
        return await self.begin("Backfill", f"backfill/{name}", name, wanted)

    async def start_rebuild(
        self,
        name: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        **fields: Unpack[BackfillFields],
    ) -> StartedRun:
        """Starts `Rebuild` under its default workflow id and returns at once.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection; nothing is started.
        """
        wanted = request_of(BackfillRequest, name, request, fields)
        return await self.begin("Rebuild", f"rebuild/{name}", name, wanted)

    async def rollback_projection(
        self,
        name: str,
        to_version: int | None = None,
        *,
        request: RollbackRequest | Mapping[str, Any] | None = None,
        on_progress: OnProgress | None = None,
        **fields: Unpack[RollbackFields],
    ) -> BackfillResult:
        """Puts a replaced generation live again, with all events since, and waits for the end.

        Args:
            name: The projection.
            to_version: The version that built the generation; None for the one replaced last.
            request: Instead: all that a rollback can be asked for.
            on_progress: See `result`.
            **fields: Instead of a request: its fields, such as ``to_generation``.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection.
            RunFailed: It failed, or was refused; the message says why.
        """
        run = await self.start_rollback(name, request, to_version=to_version, **fields)
        return await self.result(run, on_progress)

    async def start_rollback(
        self,
        name: str,
        request: RollbackRequest | Mapping[str, Any] | None = None,
        *,
        to_version: int | None = None,
        **fields: Unpack[RollbackFields],
    ) -> StartedRun:
        """Starts `Rollback` under its default workflow id and returns at once.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            ProjectionBusy: Another run writes the projection; nothing is started.
        """
        wanted = request_of(RollbackRequest, name, request, {"to_version": to_version, **fields})
        return await self.begin("Rollback", f"rollback/{name}", name, wanted)

    async def plan(
        self,
        kind: str,
        name: str,
        request: BackfillRequest | Mapping[str, Any] | None = None,
        **fields: Unpack[BackfillFields],
    ) -> Preview:
        """What a backfill or rebuild would do; nothing is done.

        Args:
            kind: ``Backfill`` or ``Rebuild``.
            name: The projection.
            request: As for the run itself.
            **fields: As for the run itself.

        Raises:
            InvalidRequest: It is no request, or one for another projection.
            UnknownProjection: There is no projection of that name.
            RunFailed: It would be refused; the message says why.
        """
        if kind not in _PLANNED:
            raise InvalidRequest(f"kind: expected one of ({', '.join(_PLANNED)}), got {kind!r}")
        whole = request_of(BackfillRequest, name, request, fields)
        dry = whole.model_copy(update={"dry_run": True})
        planned = await self.begin(kind, f"plan/{name}", name, dry)
        try:
            result = await self.result(planned)
        finally:
            await forget(self._connection.client, planned)
        assert result.plan is not None
        return result.plan

    async def result(
        self, run: StartedRun, on_progress: OnProgress | None = None
    ) -> BackfillResult:
        """Waits for a run's end.

        A run that was refused before it began is not in Temporal's list any more after this has
        told why.

        Args:
            run: The run.
            on_progress: A plain or async function that is given the run's `Progress` about every
                half second when it has changed, and at the end. A plain one must not block. What
                it raises is logged, and harms nothing.

        Raises:
            UnknownProjection: No worker has a projection of that name.
            ProjectionBusy: Another run writes the projection, under whatever workflow id.
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
            name = run.workflow_id.partition("/")[2]
            await forget_if_refused(self._connection.client, run, error)
            if isinstance(error.cause, WorkflowCancelled):
                return BackfillResult(
                    status=RunStatus.CANCELLED, projection=name, run_id=run.run_id
                )
            raise_failure(name, error)

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
            ProjectionBusy: Another run holds the projection; nothing is started.
            UnreadablePayload: What the workers run is encrypted with a key that is not here.
        """
        whole = request or Request(projection=name)
        await self._connection.require_keys()
        if not getattr(whole, "dry_run", False):
            await require_free(self._connection, name, workflow_id)
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
            raise ProjectionBusy.said(
                f"workflow {workflow_id!r} is running already (run {error.run_id}): "
                f"`refold watch {name}` follows it, `refold cancel {name}` stops it",
                workflow_id,
                error.run_id or "",
            ) from None
        return StartedRun(workflow_id, handle.first_execution_run_id or "")
