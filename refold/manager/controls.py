"""What a run is told from Python: approved, rejected, cancelled, paused, resumed, limited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import InvalidRequest, NoRun, NotAwaited, RunFailed
from refold.manager.connection import Connection
from refold.manager.current_runs import ANSWER_TIMEOUT, CurrentRuns
from refold.manager.run.outcome import raise_failure
from refold.manager.run.started_run import StartedRun
from refold.messages.run.status import RunStatus
from refold.requests.fields import LimitFields
from refold.requests.limits import Limits
from refold.requests.validation import accept_limits


class Controls:
    """Tells the run at hand what to do."""

    def __init__(self, connection: Connection, current_runs: CurrentRuns) -> None:
        self._connection = connection
        self._current_runs = current_runs

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

    async def set_limits(
        self,
        name: str,
        limits: Limits | Mapping[str, Any] | None = None,
        **fields: Unpack[LimitFields],
    ) -> Limits:
        """Changes the limits of the projection's run while it goes on.

        Args:
            name: The projection.
            limits: The limits that are to be otherwise, as an object or a dict.
            **fields: Instead: these limits.

        Returns:
            The limits that it goes by now.

        Raises:
            InvalidRequest: These are no limits, or both kinds are given.
            NoRun: There is none, or it has ended.
            RunFailed: It refuses them; the message says why.
        """
        wanted = _limits(limits, fields)
        run = await self._current_runs.current_run(name)
        handle = self._connection.client.get_workflow_handle(run.workflow_id)
        try:
            changed: Limits | None = await handle.execute_update(
                "set_limits",
                wanted.model_dump(mode="json", exclude_none=True),
                result_type=Limits | None,  # type: ignore[arg-type]
                rpc_timeout=ANSWER_TIMEOUT,
            )
        except WorkflowUpdateFailedError as error:
            raise_failure(name, error)
        except WorkflowUpdateRPCTimeoutOrCancelledError:
            raise RunFailed(
                f"{run.workflow_id!r} does not answer: expected a worker on task queue "
                f"{self._connection.task_queue!r}; start one, or look at its log"
            ) from None
        except RPCError as error:
            raise _ended(name, run, error) from None
        return changed or wanted

    async def _decide(self, name: str, signal: str, said: str | None) -> StartedRun:
        run = await self._current_runs.current_run(name)
        handle = self._connection.client.get_workflow_handle(run.workflow_id)
        status: str = await handle.query("status", result_type=str, rpc_timeout=ANSWER_TIMEOUT)
        if status != RunStatus.AWAITING_APPROVAL:
            raise NotAwaited(
                f"projection {name!r}: expected a run that is awaiting_approval, "
                f"{run.workflow_id!r} is {status}"
            )
        await handle.signal(signal, said)
        return run

    async def _signal(self, name: str, signal: str, *said: str | None) -> StartedRun:
        run = await self._current_runs.current_run(name)
        await self._connection.require_keys()
        handle = self._connection.client.get_workflow_handle(run.workflow_id)
        try:
            await handle.signal(signal, args=said)
        except RPCError as error:
            raise _ended(name, run, error) from None
        return run


def _limits(limits: Limits | Mapping[str, Any] | None, fields: Mapping[str, Any]) -> Limits:
    if limits is not None and fields:
        raise InvalidRequest(f"{next(iter(fields))}: expected limits or their fields, got both")
    if isinstance(limits, Limits):
        return limits
    return accept_limits([dict(limits or fields)])


def _ended(name: str, run: StartedRun, error: RPCError) -> Exception:
    if error.status != RPCStatusCode.NOT_FOUND:
        return error
    return NoRun(f"projection {name!r}: its run {run.workflow_id!r} has ended")
