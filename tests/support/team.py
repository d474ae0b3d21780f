"""What a team has in its worker already: a workflow, and an activity that may fail."""

from __future__ import annotations

from datetime import timedelta

from temporalio import activity, workflow
from temporalio.common import RetryPolicy


@activity.defn
async def greet(name: str) -> str:
    """A greeting; nobody greets nobody."""
    if not name:
        raise ValueError("nobody to greet: password=hunter2")
    return f"hello, {name}"


@workflow.defn
class Greeting:
    """Greets once."""

    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            greet,
            name,
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RetryPolicy(maximum_attempts=1),
        )
