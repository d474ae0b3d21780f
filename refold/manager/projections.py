"""ProjectionManager: backfills and rebuilds from Python, through Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import RefoldError
from refold.manager.dead_letters import DeadLetterManager
from refold.manager.runs import AlreadyRunning, RunFailed, StartedRun
from refold.manager.schedules import ScheduleManager
from refold.messages.run.diff import Diff
from refold.messages.run.life import BackfillResult, Progress
from refold.messages.run.preview import Preview
from refold.messages.run.status import RunStatus
from refold.requests.limits import Limits
from refold.requests.runs import BackfillRequest, RollbackRequest
from refold.store import leases, runs

__all__ = [
    "AlreadyRunning",
    "NoRun",
    "NotAwaited",
    "ProjectionManager",
    "RunFailed",
    "StartedRun",
]

_POLL_SECONDS = 0.5
_QUERY_TIMEOUT = timedelta(seconds=3)
# An answer that somebody waits for; a worker may just be starting.
_ANSWER_TIMEOUT = timedelta(seconds=20)


class NoRun(RefoldError):
    """No run of that projection is known."""


class NotAwaited(RefoldError):
    """An approval for a run that awaits none."""


class ProjectionManager(DeadLetterManager, ScheduleManager):
    """Starts, watches and cancels runs; starts and stops live projections; keeps snapshots.

    It keeps up to two connections to the database, for its life in one event loop: `close` gives
    them back, or ``async with ProjectionManager(…) as manager``.

    Args:
        client: A Temporal client.
        database_url: PostgreSQL with Refold's schema; it is asked which run holds a projection,
            and how projections stand. None to go by the default workflow ids only.
        task_queue: The task queue of Refold's workers.
    """

    # -- starting ----------------------------------------------------------------------------

    async def backfill(self, name: str, request: BackfillRequest | None = None) -> BackfillResult:
        """Backfills a projection and waits for the end.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_backfill(name, request))

    async def rebuild(self, name: str, request: BackfillRequest | None = None) -> BackfillResult:
        """Rebuilds a projection into a new table, swaps it in, and waits for the end.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        return await self.result(await self.start_rebuild(name, request))

    async def start_backfill(self, name: str, request: BackfillRequest | None = None) -> StartedRun:
        """Starts `Backfill` under its default workflow id and returns at once."""
        return await self._start("Backfill", f"backfill/{name}", name, request)

    async def start_rebuild(self, name: str, request: BackfillRequest | None = None) -> StartedRun:
        """Starts `Rebuild` under its default workflow id and returns at once."""
        return await self._start("Rebuild", f"rebuild/{name}", name, request)

    async def rollback_projection(
        self, name: str, to_version: int | None = None, *, request: RollbackRequest | None = None
    ) -> BackfillResult:
        """Puts a replaced generation live again, with all events since, and waits for the end.

        Args:
            name: The projection.
            to_version: The version that built the generation; None for the one replaced last.
            request: Instead: all that a rollback can be asked for.

        Raises:
            AlreadyRunning: One is running under the same workflow id.
            RunFailed: It failed, or was refused; the message says why.
        """
        wanted = request or RollbackRequest(projection=name, to_version=to_version)
        return await self.result(await self.start_rollback(name, wanted))

    async def start_rollback(self, name: str, request: RollbackRequest | None = None) -> StartedRun:
        """Starts `Rollback` under its default workflow id and returns at once."""
        wanted = request or RollbackRequest(projection=name)
        return await self._start("Rollback", f"rollback/{name}", name, wanted)

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
        result = await self.result(await self._start(kind, f"plan/{name}", name, dry))
        assert result.plan is not None
        return result.plan

    # -- watching ----------------------------------------------------------------------------

    async def get_backfill_progress(self, name: str) -> AsyncIterator[Progress]:
        """The progress of the projection's run, every half second until the end.

        The run may have begun before the call. While no worker is there to answer, nothing comes.

        Raises:
            NoRun: No run of the projection is known.
        """
        async for progress in self.watch(await self.current_run(name)):
            yield progress

    async def get_progress(self, workflow_id: str) -> Progress | None:
        """The progress of a run, as it stands; None when no worker answers for it in time."""
        return await self._progress(self._client.get_workflow_handle(workflow_id))

    async def watch(self, run: StartedRun) -> AsyncIterator[Progress]:
        """The progress of a run, every half second until the end."""
        handle = self._client.get_workflow_handle(run.workflow_id)
        while True:
            # Asked first, so that the last answer is one from after the end. A terminated run goes
            # on answering with what it was doing.
            running = await self._is_running(handle)
            progress = await self._progress(handle)
            if progress is not None:
                yield progress
            if not running or (progress is not None and progress.status.ended):
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _progress(self, handle: WorkflowHandle[Any, Any]) -> Progress | None:
        with suppress(RPCError, WorkflowQueryFailedError):
            answer: Progress = await handle.query(
                "progress", result_type=Progress, rpc_timeout=_QUERY_TIMEOUT
            )
            return answer
        return None

    async def _is_running(self, handle: WorkflowHandle[Any, Any]) -> bool:
        return (await handle.describe()).status == WorkflowExecutionStatus.RUNNING

    # -- the run at hand ---------------------------------------------------------------------

    async def current_run(self, name: str) -> StartedRun:
        """The run that holds the projection, else one that has been started, else the latest.

        Without a database it goes by the default workflow ids only.

        Raises:
            NoRun: There is none.
        """
        held, recorded = await self._recorded(name)
        if held is not None:
            return held
        latest: tuple[Any, StartedRun] | None = None
        for kind in ("rebuild", "backfill", "rollback", "snapshot"):
            workflow_id = f"{kind}/{name}"
            try:
                found = await self._client.get_workflow_handle(workflow_id).describe()
            except RPCError as error:
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
                continue
            running = found.status == WorkflowExecutionStatus.RUNNING
            order = (running, found.start_time)
            # One that has ended counts only if nobody keeps a record: it may have been refused.
            if (running or self._database_url is None) and (latest is None or order > latest[0]):
                latest = (order, StartedRun(workflow_id, found.run_id))
        if latest is not None:
            return latest[1]
        if recorded is not None:
            return recorded
        raise NoRun(
            f"projection {name!r}: expected a run, found none: start one with "
            f"`refold rebuild {name}`"
        )

    async def _recorded(self, name: str) -> tuple[StartedRun | None, StartedRun | None]:
        """The run that holds the projection, and the latest one, as the database knows them."""
        if self._database_url is None:
            return None, None
        async with self._connected() as connection:
            lease = await leases.holder(connection, name)
            run = await runs.latest(connection, name)
        held = None if lease is None else StartedRun(lease.workflow_id, lease.run_id)
        return held, None if run is None else StartedRun(run.workflow_id, run.run_id)

    async def get_diff(self, name: str) -> Diff | None:
        """What the projection's latest rebuild changes, or has changed; None until it is verified.

        Raises:
            NoRun: There is none.
        """
        run = await self.current_run(name)
        handle = self._client.get_workflow_handle(run.workflow_id)
        answer: Diff | None = await handle.query(
            "diff",
            result_type=Diff | None,  # type: ignore[arg-type]
            rpc_timeout=_ANSWER_TIMEOUT,
        )
        return answer

    async def approve(self, name: str, by: str | None = None) -> StartedRun:
        """Lets the table that awaits approval go live.

        Raises:
            NoRun: There is no run.
            NotAwaited: It does not await approval.
        """
        return await self._decide(name, "approve", by)

    async def reject(self, name: str, reason: str | None = None) -> StartedRun:
        """Discards the table that awaits approval; readers keep the one they have.

        Raises:
            NoRun: There is no run.
            NotAwaited: It does not await approval.
        """
        return await self._decide(name, "reject", reason)

    async def _decide(self, name: str, signal: str, said: str | None) -> StartedRun:
        run = await self.current_run(name)
        handle = self._client.get_workflow_handle(run.workflow_id)
        status: str = await handle.query("status", result_type=str, rpc_timeout=_ANSWER_TIMEOUT)
        if status != RunStatus.AWAITING_APPROVAL:
            raise NotAwaited(
                f"projection {name!r}: expected a run that is awaiting_approval, "
                f"{run.workflow_id!r} is {status}"
            )
        await handle.signal(signal, said)
        return run

    async def cancel_backfill(self, name: str, reason: str | None = None) -> StartedRun:
        """Asks the projection's run to stop; returns the run, which then cleans up.

        Raises:
            NoRun: There is none, or it has ended.
        """
        return await self._signal(name, "cancel", reason)

    async def pause(self, name: str) -> StartedRun:
        """Asks the projection's run to stand still once the batches in hand are done.

        Raises:
            NoRun: There is none, or it has ended.
        """
        return await self._signal(name, "pause")

    async def resume(self, name: str) -> StartedRun:
        """Lets the projection's run go on where it stands.

        Raises:
            NoRun: There is none, or it has ended.
        """
        return await self._signal(name, "resume")

    async def set_limits(self, name: str, limits: Limits) -> Limits:
        """Changes the limits of the projection's run while it goes on.

        Returns:
            The limits that it goes by now.

        Raises:
            NoRun: There is none, or it has ended.
            RunFailed: It refuses them; the message says why.
        """
        run = await self.current_run(name)
        handle = self._client.get_workflow_handle(run.workflow_id)
        try:
            changed: Limits | None = await handle.execute_update(
                "set_limits",
                limits.model_dump(mode="json", exclude_none=True),
                result_type=Limits | None,  # type: ignore[arg-type]
                rpc_timeout=_ANSWER_TIMEOUT,
            )
        except WorkflowUpdateFailedError as error:
            cause = error.cause
            raise RunFailed(
                cause.message if isinstance(cause, ApplicationError) else str(cause)
            ) from error
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise RunFailed(
                f"{run.workflow_id!r} does not answer: expected a worker on task queue "
                f"{self._task_queue!r}; start one, or look at its log"
            ) from None
        except RPCError as error:
            raise self._ended(name, run, error) from None
        return changed or limits

    async def _signal(self, name: str, signal: str, *said: str | None) -> StartedRun:
        run = await self.current_run(name)
        try:
            await self._client.get_workflow_handle(run.workflow_id).signal(signal, args=said)
        except RPCError as error:
            raise self._ended(name, run, error) from None
        return run

    def _ended(self, name: str, run: StartedRun, error: RPCError) -> Exception:
        if error.status != RPCStatusCode.NOT_FOUND:
            return error
        return NoRun(f"projection {name!r}: its run {run.workflow_id!r} has ended")
