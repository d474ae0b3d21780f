"""Tells each workflow when its steps begin and end."""

from __future__ import annotations

from typing import Any

from temporalio import workflow
from temporalio.worker import (
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from refold.messages.step_failures import step_name


class StepInterceptor(Interceptor):
    """Of a worker: its workflows know which steps are under way. It changes no history."""

    def workflow_interceptor_class(
        self,
        input: WorkflowInterceptorClassInput,  # noqa: A002
    ) -> type[WorkflowInboundInterceptor]:
        """The class that Temporal makes for each workflow."""
        return _Inbound


class _Inbound(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_Outbound(outbound))


class _Outbound(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:  # noqa: A002
        handle = super().start_activity(input)
        # By name: the sandbox has classes of its own, and others' workflows may have none of it.
        instance: Any = workflow.instance()
        if hasattr(instance, "step_begun"):
            step = step_name(input.activity, input.args)
            instance.step_begun(step)
            handle.add_done_callback(lambda _: instance.step_ended(step))
        return handle
