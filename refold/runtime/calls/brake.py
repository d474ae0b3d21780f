"""A brake on a call that computes for long, while others want the interpreter."""

from __future__ import annotations

import asyncio
import time

from refold.runtime.calls.job import Job

BRAKE_SECONDS = 1.0
"""A call that takes longer is braked."""

_CYCLE_SECONDS = 0.01
# What others do comes in groups: that there was nothing for a moment says little.
_RECENT_SECONDS = 1.0
_LOOK_SECONDS = 0.1
# What a worker takes that waits is less, with looks at brakes a hundred times a second.
_BUSY_SHARE = 0.1


class Brake:
    """Lets a job pause again and again, for most of the time, while others are at work.

    Others are at work when another job is begun, or when this process, without what is braked,
    takes a tenth of a core (where the system tells: macOS does not).

    Args:
        job: What is braked.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._until = 0.0
        self._before = 0.0
        self._looked: tuple[float, float] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def paused(self) -> float:
        """Seconds that the job has paused, of the call that is being made."""
        return self._job.paused - self._before

    def pull(self) -> None:
        """The call in hand lasts."""
        if self._timer is None:
            _pulled.add(self)
            _look_anew()
            self._again()

    def release(self) -> None:
        """The call in hand lasts no more, or another is in hand."""
        self._before = self._job.paused
        if self._timer is not None:
            _pulled.discard(self)
            _look_anew()
            self._timer.cancel()
            self._timer = None

    def other(self) -> None:
        """Another job is begun."""
        self._until = time.monotonic() + _RECENT_SECONDS

    def look_anew(self) -> None:
        """Others are braked now than before."""
        self._looked = None

    def _again(self) -> None:
        now = time.monotonic()
        if self._are_others_busy(now):
            self._until = now + _RECENT_SECONDS
        if now < self._until:
            _press()
        self._timer = self._job.loop.call_later(_CYCLE_SECONDS, self._again)

    def _are_others_busy(self, now: float) -> bool:
        if not hasattr(time, "pthread_getcpuclockid"):
            return False
        if self._looked is not None and now - self._looked[0] < _LOOK_SECONDS:
            return False
        before = self._looked
        taken = time.process_time() - sum(brake._job.computed() for brake in _pulled)
        self._looked = now, taken
        return before is not None and taken - before[1] > _BUSY_SHARE * (now - before[0])


_pulled: set[Brake] = set()


def _look_anew() -> None:
    for brake in _pulled:
        brake.look_anew()


def another_job() -> None:
    """Tells all that are braked that there is another job now."""
    for brake in _pulled:
        brake.other()
    _press()


def _press() -> None:
    # Together, or one of them would always be at work.
    if all(brake._job.is_at_work for brake in _pulled):
        for brake in _pulled:
            brake._job.pause()
