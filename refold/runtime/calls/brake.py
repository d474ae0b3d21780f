"""A brake on a call that computes for long, while other people's code wants the interpreter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from refold.runtime.calls.job import Job

BRAKE_SECONDS = 1.0
"""A call that takes longer is braked."""

_CYCLE_SECONDS = 0.04
# Pieces of others' work come in groups: that there was none for a moment says little.
_RECENT_SECONDS = 1.0


class Brake:
    """Lets a job pause again and again, for most of the time, while there are others.

    Args:
        job: What is braked.
        given: A count that grows with each job of this process. Without others there is no pause.
    """

    def __init__(self, job: Job, given: Callable[[], int]) -> None:
        self._job = job
        self._given = given
        self._known = given()
        self._until = 0.0
        self._before = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def paused(self) -> float:
        """Seconds that the job has paused, of the call that is being made."""
        return self._job.paused - self._before

    def pull(self) -> None:
        """The call in hand lasts."""
        if self._timer is None:
            self._press()

    def release(self) -> None:
        """The call in hand lasts no more, or another is in hand."""
        self._before = self._job.paused
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _press(self) -> None:
        loop = self._job.loop
        now, given = loop.time(), self._given()
        if given != self._known:
            self._known, self._until = given, now + _RECENT_SECONDS
        if now < self._until:
            self._job.pause()
        self._timer = loop.call_later(_CYCLE_SECONDS, self._press)
