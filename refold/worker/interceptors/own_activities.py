"""Refold's interceptors of activities, beside activities that are none of Refold's."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
)

_LOOK_SECONDS = 0.1


class Gate:
    """Refold's activities wait here until their worker has seen that it can work.

    An attempt that waits sends no heartbeats: another worker gets it when that takes long.

    Attributes:
        is_open: Whether they begin.
    """

    def __init__(self, *, is_open: bool) -> None:
        self.is_open = is_open

    async def passed(self) -> None:
        """Waits until the gate is open.

        Raises:
            ApplicationError: The worker ends before that; another one is to try.
        """
        while not self.is_open:
            if activity.is_worker_shutdown():
                raise ApplicationError(
                    "this worker ended before it had seen its database", type="WorkerEnded"
                )
            await asyncio.sleep(_LOOK_SECONDS)


class OwnActivities(Interceptor):
    """Sends some activities through interceptors; all others pass by as if there were none.

    Args:
        names: The types of the activities.
        interceptors: From the outermost to the innermost.
        gate: What each attempt waits at first.
    """

    def __init__(
        self, names: Collection[str], interceptors: Sequence[Interceptor], gate: Gate
    ) -> None:
        self._names = frozenset(names)
        self._interceptors = interceptors
        self._gate = gate

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        own = next
        for interceptor in reversed(self._interceptors):
            own = interceptor.intercept_activity(own)
        return _Inbound(next, own, self._names, self._gate)


class _Inbound(ActivityInboundInterceptor):
    def __init__(
        self,
        others: ActivityInboundInterceptor,
        own: ActivityInboundInterceptor,
        names: frozenset[str],
        gate: Gate,
    ) -> None:
        super().__init__(others)
        self._own = own
        self._names = names
        self._gate = gate

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        # It comes to all that follow, by way of Refold's own.
        self._own.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        if activity.info().activity_type not in self._names:
            return await self.next.execute_activity(input)
        await self._gate.passed()
        return await self._own.execute_activity(input)
