"""What the log lines of an activity are about."""

from __future__ import annotations

from typing import Any

from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from refold.runtime.telemetry.logs import begin_about


class LogInterceptor(Interceptor):
    """Notes the projection and the run that an activity is told; its work adds the position."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        told = input.args[0] if input.args else None
        named = {name: getattr(told, name, None) for name in ("projection", "run_id")}
        begin_about(**{name: value for name, value in named.items() if isinstance(value, str)})
        return await super().execute_activity(input)
