"""How long people's code may take in the activities of one worker."""

from __future__ import annotations

from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from refold.runtime.threads import limit_calls


class CallLimit(Interceptor):
    """Sets the limit of one call for every activity of a worker.

    Args:
        seconds: How long a handler, key function or predicate may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next, self._seconds)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, seconds: float) -> None:  # noqa: A002
        super().__init__(next)
        self._seconds = seconds

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        limit_calls(self._seconds)
        return await super().execute_activity(input)
