"""How activities are called: their time limits, and what cancels them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio import workflow
from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType

T = TypeVar("T")

# Databases and workers come back: there is no last attempt. Final errors say so themselves.
# The waits grow slowly: a frozen worker's open polls may swallow several attempts in a row.
_RETRIES = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    backoff_coefficient=1.5,
    maximum_interval=timedelta(seconds=10),
)

_DEFAULT_HEARTBEAT_SECONDS = 10.0


class StepOptions(TypedDict):
    """Options of an activity call."""

    start_to_close_timeout: timedelta
    heartbeat_timeout: timedelta
    retry_policy: RetryPolicy
    cancellation_type: ActivityCancellationType
    priority: Priority


def step(
    heartbeat_seconds: float = _DEFAULT_HEARTBEAT_SECONDS,
    *,
    longest: timedelta = timedelta(days=1),
) -> StepOptions:
    """The options of one step.

    Args:
        heartbeat_seconds: Silence after which another worker takes over.
        longest: How long one attempt may take.
    """
    return StepOptions(
        start_to_close_timeout=longest,
        heartbeat_timeout=timedelta(seconds=heartbeat_seconds),
        retry_policy=_RETRIES,
        # A cancelled run must not drop a table while an activity still writes to it.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        priority=fair(),
    )


def fair() -> Priority:
    """Takes turns with other tenants and projections when all workers are busy.

    The key is the workflow's own `fairness_key`: each class of ours has one.
    """
    return Priority(fairness_key=workflow.instance().fairness_key)


def heed_cancellation() -> None:
    """Goes no further once cancelled: an activity that ends well all the same uses it up."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work to its end, whatever cancellation comes meanwhile."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
