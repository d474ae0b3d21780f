"""Threads for people's code: handlers, key functions, predicates. The event loop stays free.

Most pieces of work take a few milliseconds. For these the event loop stands still: a loop that goes
on beside a thread that computes asks for the interpreter at each of its many turns, which costs
both more than the work itself. What takes longer goes on beside the loop.

A thread cannot be killed. One whose call takes too long is interrupted by an exception that no
`except Exception` catches, which ends whatever runs in Python. What waits in C does not notice: its
thread is left, counted and named in the log, and the work goes on in another one.

One that computes for long takes turns with all others meanwhile. While there are others at work it
is made to pause for most of the time, which does not count for the limit: `refold.runtime.calls`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue
from typing import Any, TypeVar

from refold.errors import HandlerInterrupted, HandlerOverdue, NoThreadLeft
from refold.errors.words import shortened
from refold.event import Event
from refold.runtime.calls.brake import BRAKE_SECONDS, Brake, another_job
from refold.runtime.calls.job import Job
from refold.runtime.code_location import where

logger = logging.getLogger(__name__)

T = TypeVar("T")

CALL_SECONDS = 30.0
"""How long one call of people's code may take, unless a worker's settings say otherwise."""

LASTING_SECONDS = 5.0
"""A call that takes longer is told, with the place where it stands, as long as it lasts."""

PIECE_SECONDS = 2.0
"""After so long what can be cut in two is asked to be: see `Hand.due`."""

MOST_LEFT = 50
"""So many threads may be left in code that does not return; then no other is begun."""

# So long does the event loop stand still for a piece of work. A thousand events of a quick handler
# take a fifth of it. After one that takes longer it does not do so for the projection for a while,
# so that slow projections do not hold up the others.
_STILL_SECONDS = 0.02
_NOT_STILL_SECONDS = 2.0
# A thread that computes gives the interpreter up when it is asked to, after this time; the event
# loop, whose turns are many and short, asks at each of them. Beside such a thread, its turns in
# one round trip waited 0.63 ms with Python's own 5 ms, as a script measured, and 0.08 ms with this.
_TURN_SECONDS = 0.0005
_LOOK_SECONDS = 0.25
# Code that catches everything in a loop is hit between two rounds sooner or later.
_INTERRUPT_SECONDS = 0.01
_GRACE_SECONDS = 2.0

_seconds: contextvars.ContextVar[float] = contextvars.ContextVar("seconds", default=CALL_SECONDS)

LASTING: contextvars.ContextVar[list[str] | None] = contextvars.ContextVar("lasting", default=None)
"""Where calls of the work at hand are told while they last long, each in a line."""


class Hand:
    """What a thread has in hand, for the watch on it.

    Args:
        projection: Whose code it runs.
        piece_seconds: After how long a piece of work is to end; `PIECE_SECONDS` when left out.

    Attributes:
        event: The event of the call that is being made; None between two calls. Each call has an
            object of its own, or tells so by `begin`.
        calls: A count that tells two calls with the same event apart.
        due: Whether the piece in hand is to end after this call: it has taken `piece_seconds`.
        spent: Seconds that the piece has taken in earlier threads.
        size: Bytes of events that the piece has taken in.
    """

    __slots__ = ("calls", "due", "event", "piece_seconds", "projection", "size", "spent")

    def __init__(self, projection: str, piece_seconds: float | None = None) -> None:
        self.projection = projection
        self.piece_seconds = PIECE_SECONDS if piece_seconds is None else piece_seconds
        self.event: Event | None = None
        self.calls = 0
        self.due = False
        self.renew()

    def renew(self) -> None:
        """Another piece begins."""
        self.spent = 0.0
        self.size = 0

    def begin(self, event: Event) -> None:
        """A call with an event begins."""
        self.calls += 1
        self.event = event

    def each(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yields the events; each is in hand until the next one is taken."""
        for event in events:
            self.begin(event)
            yield event
        self.event = None


def limit_calls(seconds: float) -> None:
    """Sets how long one call of people's code may take, for this task and those that it starts."""
    _seconds.set(seconds)


async def in_thread(
    work: Callable[..., T], *arguments: Any, hand: Hand | None = None, seconds: float | None = None
) -> T:
    """Runs people's code in a thread.

    Args:
        work: What is run.
        *arguments: The arguments of `work`.
        hand: Where `work` notes the event in hand; without it there is no limit of time.
        seconds: How long one call may take; what `limit_calls` has set when left out.

    Raises:
        HandlerOverdue: A call has taken too long; its thread is interrupted, or left.
        NoThreadLeft: Too many threads are left in code that does not return.
    """
    loop = asyncio.get_running_loop()
    job = Job(loop, contextvars.copy_context(), work, arguments)
    if hand is None:
        _threads.give(job)
        return await job.result()  # type: ignore[no-any-return]
    began = loop.time()
    hand.due = hand.spent >= hand.piece_seconds
    _threads.give(job)
    if began >= _still_from.get(hand.projection, began):
        if job.ends_within(_STILL_SECONDS):
            hand.spent += loop.time() - began
            return job.taken()  # type: ignore[no-any-return]
        _still_from[hand.projection] = began + _NOT_STILL_SECONDS
    watch = _Watch(job, hand, seconds or _seconds.get())
    try:
        return await job.result()  # type: ignore[no-any-return]
    finally:
        hand.spent += loop.time() - began
        if job.ended:
            watch.end()
        else:  # nobody wants any more of it
            hand.due = True


_still_from: dict[str, float] = {}
"""From when on, by the event loop's clock, it stands still for a projection again."""


class _Watch:
    """Looks at a thread's hand now and then, as long as its job lasts."""

    def __init__(self, job: Job, hand: Hand, seconds: float) -> None:
        self._job = job
        self._hand = hand
        self._seconds = seconds
        self._clock = job.loop.time
        self._began = self._looked = self._clock()
        self._seen: tuple[Event | None, int] = (None, 0)
        self._unchanged = 0.0
        self._brake = Brake(job)
        self._left = False
        self._told_in = LASTING.get()
        self._lasting: str | None = None
        self._timer = job.loop.call_later(self._pause(), self._look)

    def end(self) -> None:
        self._timer.cancel()
        self._brake.release()
        self._tell_lasting(None)

    def _pause(self) -> float:
        pause = min(_LOOK_SECONDS, self._seconds / 4)
        if not self._hand.due:
            left = self._hand.piece_seconds - self._hand.spent - (self._clock() - self._began)
            pause = min(pause, max(left, 0.001))
        return pause

    def _look(self) -> None:
        if self._job.ended:
            self._brake.release()
            self._tell_lasting(None)
            self._job.give_up()  # it may have been hit before it could say what came of it
            if self._left:
                _threads.came_back()
            return
        hand, now = self._hand, self._clock()
        # A process that was stopped meanwhile (SIGSTOP) has not had all that time to run.
        passed = min(now - self._looked, 2 * _LOOK_SECONDS)
        self._looked = now
        if hand.spent + now - self._began >= hand.piece_seconds:
            hand.due = True
        if self._job.overdue is not None:
            pause = self._insist(self._job.overdue, passed)
        elif self._is_overdue(passed):
            pause = _INTERRUPT_SECONDS
        else:
            pause = self._pause()
        self._timer = self._job.loop.call_later(pause, self._look)

    def _is_overdue(self, passed: float) -> bool:
        """Looks whether the call in hand is still the one that it was; interrupts it in the end."""
        event, calls = self._hand.event, self._hand.calls
        same = event is not None and event is self._seen[0] and calls == self._seen[1]
        self._seen = event, calls
        self._unchanged = self._unchanged + passed if same else 0.0
        if not same:
            self._brake.release()
        elif self._unchanged >= BRAKE_SECONDS:
            self._brake.pull()
        if not same:
            self._tell_lasting(None)
        elif self._unchanged >= min(LASTING_SECONDS, self._seconds / 2):
            self._tell_lasting(event)
        if event is None or self._unchanged - self._brake.paused < self._seconds:
            return False
        self._brake.release()
        place = where(self._job.thread)
        overdue = HandlerOverdue.of(self._hand.projection, event, self._seconds, place)
        logger.error("%s", overdue)
        self._unchanged = 0.0
        self._job.interrupt(overdue)
        return True

    def _tell_lasting(self, event: Event | None) -> None:
        """Tells of the call in hand, once; or that it lasts no more."""
        if event is None:
            if self._lasting is not None and self._told_in is not None:
                self._told_in.remove(self._lasting)
            self._lasting = None
        elif self._lasting is None:
            since = datetime.now(UTC) - timedelta(seconds=self._unchanged)
            pauses = " without its pauses for others" if self._brake.paused else ""
            self._lasting = (
                f"the code of projection {self._hand.projection!r} to return: it has had event "
                f"{event.position} ({shortened(event.type, 200)}) in hand since {since:%H:%M:%S} "
                f"UTC, and stands at {where(self._job.thread)}; after {self._seconds:g} s{pauses} "
                "it is ended (REFOLD_HANDLER_SECONDS)"
            )
            logger.warning("waiting for %s", self._lasting)
            if self._told_in is not None:
                self._told_in.append(self._lasting)

    def _insist(self, overdue: HandlerOverdue, passed: float) -> float:
        """Interrupts it again; leaves its thread in the end. The seconds to the next try."""
        self._job.interrupt(overdue)
        self._unchanged += passed
        if self._unchanged >= _GRACE_SECONDS and not self._left:
            self._left = True
            self._job.give_up()
            _threads.leave(overdue.where)
        return _LOOK_SECONDS if self._left else _INTERRUPT_SECONDS


class _Threads:
    """The threads of this process: as many as are wanted at a time; daemons, so it can end."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Job]] = []
        self._left = 0

    def give(self, job: Job) -> None:
        another_job()  # before it begins
        try:
            jobs = self._idle.pop()
        except IndexError:
            if self._left >= MOST_LEFT:
                raise NoThreadLeft(self._left) from None
            jobs = SimpleQueue()
            sys.setswitchinterval(min(sys.getswitchinterval(), _TURN_SECONDS))
            threading.Thread(
                target=self._work, args=(jobs,), name="refold-people", daemon=True
            ).start()
        jobs.put(job)

    def leave(self, place: str) -> None:
        self._left += 1
        logger.error(
            "a thread is left at %s, which does not return: %d of them by now, of %d that may be; "
            "they end with this process",
            place,
            self._left,
            MOST_LEFT,
        )

    def came_back(self) -> None:
        self._left -= 1

    def _work(self, jobs: SimpleQueue[Job]) -> None:
        with suppress(HandlerInterrupted):
            while True:
                job = jobs.get()
                try:
                    job.do()
                finally:
                    job.ended = True
                if job.overdue is not None:
                    job.tell()
                    return  # it may still be hit by what was raised in it
                self._idle.append(jobs)  # first, or the loop would have another thread made
                job.tell()
                del job  # nothing of it is kept while there is nothing to do


_threads = _Threads()
