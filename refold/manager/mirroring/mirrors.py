"""Mirrors from Python: started, paused, limited, cancelled, and asked how they are."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio.client import WorkflowQueryFailedError, WorkflowUpdateFailedError
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from refold.errors import NoRun
from refold.manager.connection import Connection, is_running
from refold.manager.live import NOBODY_ANSWERS, QUERY_TIMEOUT
from refold.manager.mirroring.health import MirrorHealth, judged
from refold.manager.run.outcome import raise_failure
from refold.messages.markdown import escaped
from refold.messages.mirrors import MirrorLimits, MirrorProgress, mirror_id
from refold.requests.mirrors import MirrorRequest
from refold.requests.validation import accept_request
from refold.store.mirrors import cursors


class Mirrors:
    """Starts and steers mirrors, and asks how they are."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def start_mirror(
        self,
        mirror: str,
        *,
        batch_size: int | None = None,
        events_per_second: float | None = None,
        requested_by: str | None = None,
    ) -> bool:
        """Starts a mirror at its cursor; one that runs is only given these limits.

        Args:
            mirror: Its name, which workers find in REFOLD_MIRRORS.
            batch_size: Events in one transaction, at most; 1,000 if left out.
            events_per_second: At most; no limit if left out, or 0.
            requested_by: Who asks, for the record.

        Returns:
            False when it was running already.

        Raises:
            InvalidRequest: A field has a value that is not accepted.
        """
        limits = _given(batch_size=batch_size, events_per_second=events_per_second)
        asked = {"mirror": mirror, **limits, **_given(requested_by=requested_by)}
        request = accept_request([asked], MirrorRequest)
        try:
            await self._connection.client.start_workflow(
                "Mirror",
                request.model_dump(mode="json", exclude_none=True),
                id=mirror_id(mirror),
                task_queue=self._connection.task_queue,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                static_summary=f"mirror of {escaped(mirror)}",
            )
        except WorkflowAlreadyStartedError:
            if limits:
                await self.set_mirror_limits(mirror, **limits)
            return False
        return True

    async def pause_mirror(self, mirror: str) -> None:
        """Has a mirror stand still until it is resumed.

        Raises:
            NoRun: None of that name runs.
        """
        await self._signal(mirror, "pause")

    async def resume_mirror(self, mirror: str) -> None:
        """Lets a mirror go on, after a pause or a failure.

        Raises:
            NoRun: None of that name runs.
        """
        await self._signal(mirror, "resume")

    async def cancel_mirror(self, mirror: str, reason: str | None = None) -> None:
        """Ends a mirror; its cursor stays, so that one that is started again goes on there.

        Raises:
            NoRun: None of that name runs.
        """
        await self._signal(mirror, "cancel", reason)

    async def set_mirror_limits(
        self,
        mirror: str,
        *,
        batch_size: int | None = None,
        events_per_second: float | None = None,
    ) -> MirrorLimits:
        """Changes how fast a mirror may go, from its next batch on; returns what it goes by then.

        Args:
            mirror: Its name.
            batch_size: Events in one transaction, at most; as it is if left out.
            events_per_second: At most, 0 for no limit; as it is if left out.

        Raises:
            NoRun: None of that name runs.
            RunFailed: It refuses them; the message says why.
        """
        limits = _given(batch_size=batch_size, events_per_second=events_per_second)
        handle = self._connection.client.get_workflow_handle(mirror_id(mirror))
        try:
            changed: MirrorLimits = await handle.execute_update(
                "set_limits", limits, result_type=MirrorLimits, rpc_timeout=QUERY_TIMEOUT
            )
        except WorkflowUpdateFailedError as error:
            raise_failure(mirror, error)
        except RPCError as error:
            raise _none_runs(mirror, error) from None
        return changed

    async def get_mirrors(self) -> list[MirrorHealth]:
        """How each mirror is that ever began from this Temporal namespace, by name.

        Raises:
            ConfigurationError: The manager was made without a database.
        """
        async with self._connection.connected() as connection:
            namespace = self._connection.client.namespace
            rows = [row for row in await cursors.rows(connection) if row.namespace == namespace]
        answers = await asyncio.gather(*[self._progress(row.workflow_id) for row in rows])
        return [
            judged(row, progress, answers=is_known)
            for row, (progress, is_known) in zip(rows, answers, strict=True)
        ]

    async def _progress(self, workflow_id: str) -> tuple[MirrorProgress | None, bool]:
        """What a mirror says of itself, if it runs and answers; whether that is known."""
        handle = self._connection.client.get_workflow_handle(workflow_id)
        try:
            if not await is_running(handle):
                return None, True
            answer: MirrorProgress = await handle.query(
                "progress", result_type=MirrorProgress, rpc_timeout=QUERY_TIMEOUT
            )
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None, True
            if error.status not in NOBODY_ANSWERS:
                raise
            return None, False
        except WorkflowQueryFailedError:
            return None, False
        return answer, True

    async def _signal(self, mirror: str, signal: str, *said: str | None) -> None:
        try:
            handle = self._connection.client.get_workflow_handle(mirror_id(mirror))
            await handle.signal(signal, args=said)
        except RPCError as error:
            raise _none_runs(mirror, error) from None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _none_runs(mirror: str, error: RPCError) -> Exception:
    if error.status != RPCStatusCode.NOT_FOUND:
        return error
    return NoRun(
        f"mirror {mirror!r}: expected one that runs, none does: `refold events mirror {mirror}` "
        "starts it"
    )
