"""Several jobs at a time, as many as there are slots; their number may change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from temporalio import workflow


class Slots:
    """Places for jobs.

    Args:
        limit: Says how many slots there are now; it is called again and again.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self._limit = limit
        self._taken = 0

    async def take(self) -> None:
        """Waits for a slot and takes it."""
        # Looked at again after each wait: another job may have been quicker.
        while self._taken >= self._limit():
            await workflow.wait_condition(lambda: self._taken < self._limit())
        self._taken += 1

    def give_back(self) -> None:
        """Gives a slot back."""
        self._taken -= 1

    async def step_aside(self) -> None:
        """Gives the slot up when more are taken than there are now; returns with one again."""
        if self._taken <= self._limit():
            return
        self._taken -= 1
        try:
            await self.take()
        except BaseException:
            self._taken += 1  # the slot's holder gives it back
            raise


async def at_most(slots: Slots, jobs: Iterable[Callable[[], Awaitable[Any]]]) -> None:
    """Runs the jobs in order, as many at a time as there are slots; all have ended at its end.

    The first failure, or cancellation, cancels the jobs that are under way and is raised once they
    have ended.
    """

    async def work(job: Callable[[], Awaitable[Any]]) -> None:
        await slots.take()
        try:
            await job()
        finally:
            slots.give_back()

    workers = [asyncio.create_task(work(job)) for job in jobs]
    cancelled: asyncio.CancelledError | None = None
    try:
        await workflow.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    except asyncio.CancelledError as error:
        cancelled = error
    # What failed first is the cause; the others fail because they are cancelled for it.
    failed = next((w for w in workers if w.done() and not w.cancelled() and w.exception()), None)
    for worker in workers:
        worker.cancel()
    while not all(worker.done() for worker in workers):
        try:
            await workflow.wait(workers)
        except asyncio.CancelledError as error:
            cancelled = error
    for worker in workers:
        if not worker.cancelled():
            worker.exception()  # taken: one that nobody takes is a line in the log
    if cancelled is not None:
        raise cancelled
    for worker in [failed] if failed is not None else workers:
        worker.result()
