"""Keeps a stack up until SIGINT or SIGTERM."""

import queue
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from refold.stack.stack import Stack

CHECK_SECONDS = 0.5


def run_until_signalled(stack: Stack, announce: Callable[[Stack], None]) -> int:
    """Starts `stack`, calls `announce` when it is ready, and stops it at the first signal.

    A signal during the start stops what had started; `announce` is then not called. Further
    signals do not hurry the stop. Returns 0; raises a StackError, after an orderly stop, when the
    start failed or a server ended unasked. Call it in the main thread.
    """
    with _signals() as signals:
        try:
            stack.start()
            signals.may_interrupt = False
            if signals.received.empty():
                announce(stack)
            while not signals.arrived_within(CHECK_SECONDS):
                stack.check()
        except KeyboardInterrupt:
            if signals.received.empty():  # not one of ours
                raise
        finally:
            signals.may_interrupt = False
            stack.stop()
    return 0


class _Signals:
    """The signals that have arrived. Only the first one interrupts a start under way."""

    def __init__(self) -> None:
        # Its `put` may be called while `get` waits in the same thread, unlike an Event's `set`.
        self.received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.may_interrupt = True

    def handle(self, number: int, _frame: FrameType | None) -> None:
        self.received.put(number)
        if self.may_interrupt:
            self.may_interrupt = False
            raise KeyboardInterrupt

    def arrived_within(self, seconds: float) -> bool:
        try:
            self.received.get(timeout=seconds)
        except queue.Empty:
            return False
        return True


@contextmanager
def _signals() -> Iterator[_Signals]:
    signals = _Signals()
    before = {
        number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
