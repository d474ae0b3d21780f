"""How activities are called: their time limits, and waiting for several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
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
    )


def heed_cancellation() -> None:
    """Goes no further once cancelled: an activity that ends well all the same uses it up."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def at_most(concurrency: int, jobs: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Runs the jobs, so many at a time; all have ended when it returns or raises.

    The first failure, or cancellation, cancels the jobs that are under way and is raised once they
    have ended.
    """
    waiting = list(jobs)

    async def work() -> None:
        while waiting:
            await waiting.pop(0)()

    workers = [asyncio.create_task(work()) for _ in range(min(concurrency, len(waiting)))]
    cancelled: asyncio.CancelledError | None = None
    try:
        await workflow.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError as error:
        cancelled = error
    waiting.clear()
    # What failed first is the cause; the others fail because they are cancelled for it.
    failed = next((w for w in workers if w.done() and not w.cancelled() and w.exception()), None)
    for worker in workers:
        worker.cancel()
    while not all(worker.done() for worker in workers):
        try:
            await workflow.wait(workers)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    for worker in [failed] if failed is not None else workers:
        worker.result()


async def uncancelled(work: Coroutine[Any, Any, T]) -> T:
    """Awaits work to its end, whatever cancellation comes meanwhile."""
    task = asyncio.create_task(work)
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                raise
