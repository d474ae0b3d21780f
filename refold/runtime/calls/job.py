"""A piece of people's code for a thread, and its result for the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from refold.errors import HandlerInterrupted, HandlerOverdue
from refold.runtime.calls.pauses import Pauses


class Job:
    """One piece of work.

    Args:
        loop: Whose task waits for it.
        context: What it runs in.
        work: What is run.
        arguments: The arguments of `work`.

    Attributes:
        thread: The thread that it was begun in.
        ended: Whether it has ended, well or not.
        overdue: Why it was interrupted, if it was.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
        work: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        self.loop = loop
        self.thread: int | None = None
        self.ended = False
        self.overdue: HandlerOverdue | None = None
        self._pauses: Pauses | None = None
        self._work: Callable[[], Any] | None = lambda: context.run(work, *arguments)
        self._result: Any = None
        self._error: BaseException | None = None
        self._future: asyncio.Future[Any] | None = None
        self._lock = threading.Lock()
        self._working = threading.Lock()
        self._working.acquire()

    def do(self) -> None:
        """Does it, in the thread that this is called in."""
        self._pauses = Pauses()
        self.thread = threading.get_ident()
        result: Any = None
        error: BaseException | None = None
        try:
            assert self._work is not None
            result = self._work()
        except BaseException as raised:
            error = raised
        if error is not None and (
            isinstance(error, StopIteration) or not isinstance(error, Exception)
        ):
            # Raised by the loop, these would end it, or the task as if somebody had cancelled it.
            cause = error
            error = RuntimeError(f"{type(cause).__name__} in people's code: {cause}")
            error.__cause__ = cause
        with self._lock:
            self._result, self._error = result, error
            self.ended = True
        self._pauses.end()
        self._work = None

    def tell(self) -> None:
        """Tells the event loop, which stands still or goes on, that it has ended."""
        with self._lock:
            awaited = self._future is not None
        self._working.release()
        if awaited:
            with suppress(RuntimeError):  # the loop is closed
                self.loop.call_soon_threadsafe(self._settle)

    def ends_within(self, seconds: float) -> bool:
        """Whether it ends within so many seconds, in which the event loop stands still."""
        return self._working.acquire(timeout=seconds)

    def taken(self) -> Any:
        """The result of a piece of work that has ended.

        Raises:
            BaseException: What it raised.
        """
        result, error = self._result, self._error
        self._result = self._error = None
        if error is not None:
            raise error
        return result

    async def result(self) -> Any:
        """Waits for the result while the event loop goes on.

        Raises:
            HandlerOverdue: It took too long.
            BaseException: What it raised.
        """
        with self._lock:
            self._future = self.loop.create_future()
            ended = self.ended
        if ended:
            self._settle()
        return await self._future

    @property
    def paused(self) -> float:
        """Seconds that it has paused by now."""
        return 0.0 if self._pauses is None else self._pauses.taken

    @property
    def is_at_work(self) -> bool:
        """Whether it does not pause, and has not for long enough to do so again."""
        return self._pauses is None or self._pauses.is_next

    def computed(self) -> float:
        """Seconds of a core that its thread has taken, which must not be interrupted; 0 once ended.

        Raises:
            AttributeError: The system does not tell, as macOS.
        """
        with self._lock:
            if self.ended or self.thread is None:
                return 0.0
            return time.clock_gettime(time.pthread_getcpuclockid(self.thread))

    def pause(self) -> None:
        """Lets it pause once, if it has not ended and has worked for long enough since the last."""
        with self._lock:
            if not self.ended and self._pauses is not None:
                self._pauses.ask()

    def interrupt(self, overdue: HandlerOverdue) -> None:
        """Raises `HandlerInterrupted` in the thread, if it is still at this piece of work."""
        with self._lock:
            if self.ended or self.thread is None:
                return
            self.overdue = overdue
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread), ctypes.py_object(HandlerInterrupted)
            )

    def give_up(self) -> None:
        """Ends the wait for the result: the waiting task is told why it does not come."""
        if self.overdue is not None and self._future is not None and not self._future.done():
            self._future.set_exception(self.overdue)

    def _settle(self) -> None:
        assert self._future is not None
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self.overdue or self._error)
        else:
            self._future.set_result(self._result)
        self._result = self._error = None
