"""Pauses of a thread that runs people's code: another thread asks for them, and Python makes them.

A thread cannot be suspended from outside, and threads of one interpreter share it evenly: beside a
loop that ends nowhere, everybody else has half of it. A lower priority of that thread changes
nothing while a core is free for it, and where none is it may be put aside with the interpreter in
hand, for which all others wait then. So the thread itself is made to sleep between two lines, as a
debugger stops one: without the interpreter.

It cannot be made to while it is in code in C. Locks that its code holds are held while it sleeps.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
import time
from contextlib import suppress
from types import CodeType
from typing import Any

from refold.errors import HandlerInterrupted
from refold.runtime.code_location import frames_of

PAUSE_SECONDS = 0.03
"""How long one pause is."""

WORK_SECONDS = 0.01
"""How long a thread works between two pauses at least, so that its code comes on."""


class _Rests:
    """What a thread has paused.

    Attributes:
        taken: How long its pauses were by now, together, in seconds.
    """

    def __init__(self) -> None:
        self.taken = 0.0
        self._next = 0.0

    @property
    def is_next(self) -> bool:
        """Whether the thread is at work, and has been since the last pause for long enough."""
        return time.monotonic() >= self._next

    def rest(self) -> None:
        """Sleeps for as long as a pause is."""
        self._next = math.inf
        try:
            time.sleep(PAUSE_SECONDS)
            self.taken += PAUSE_SECONDS
        finally:
            self._next = time.monotonic() + WORK_SECONDS


if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    # Python's documentation gives 3 and 4 to nobody.
    _TOOL = 4
    _EVENTS = _monitoring.events.LINE | _monitoring.events.JUMP
    _asked: dict[int, Pauses] = {}

    class Pauses(_Rests):
        """The pauses of the thread that this is made in."""

        def __init__(self) -> None:
            super().__init__()
            self._thread = threading.get_ident()
            self._codes: set[CodeType] = set()

        def ask(self) -> None:
            """Another thread asks for a pause at the next line, if it is time for one.

            The thread must be at its work, and not have called `end`.
            """
            if not self.is_next or not _is_our_tool():
                return
            _asked[self._thread] = self
            for frame in frames_of(self._thread):
                if frame.f_code not in self._codes:
                    self._codes.add(frame.f_code)
                    _monitoring.set_local_events(_TOOL, frame.f_code, _EVENTS)

        def end(self) -> None:
            """The thread itself takes back what it was asked for."""
            _asked.pop(self._thread, None)
            while self._codes:
                _monitoring.set_local_events(_TOOL, self._codes.pop(), 0)

    def _is_our_tool() -> bool:
        if _monitoring.get_tool(_TOOL) is None:
            _monitoring.use_tool_id(_TOOL, "refold")
            for event in (_monitoring.events.LINE, _monitoring.events.JUMP):
                _monitoring.register_callback(_TOOL, event, _at_line)
        return _monitoring.get_tool(_TOOL) == "refold"

    def _at_line(*_: Any) -> None:
        # Other threads may run the same code.
        pauses = _asked.get(threading.get_ident())
        if pauses is not None:
            pauses.end()
            pauses.rest()

else:
    _Tracing = ctypes.PYFUNCTYPE(
        ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
    )
    # What `sys.settrace` is made of; it takes a thread. It is no part of Python's API, but does
    # not change any more: newer Pythons have something else.
    _set_trace = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _Tracing, ctypes.py_object)(
        ("_PyEval_SetTrace", ctypes.pythonapi)
    )
    _this_thread = ctypes.PYFUNCTYPE(ctypes.c_void_p)(("PyThreadState_Get", ctypes.pythonapi))

    class Pauses(_Rests):
        """The pauses of the thread that this is made in."""

        def __init__(self) -> None:
            super().__init__()
            self._identity = threading.get_ident()
            is_traced = sys.gettrace() is not None  # by a debugger, or for coverage
            self._thread = None if is_traced else _this_thread()
            self._was_asked = False

        def ask(self) -> None:
            """Another thread asks for a pause at the next line, if it is time for one.

            The thread must be at its work, and not have called `end`.
            """
            if self.is_next and self._thread is not None:
                self._was_asked = True
                # ``while True: pass`` never comes to another line.
                for frame in frames_of(self._identity):
                    frame.f_trace_opcodes = True
                    break
                _set_trace(self._thread, _at_line, self)

        def end(self) -> None:
            """The thread itself takes back what it was asked for."""
            if self._was_asked:
                sys.settrace(None)

    def _trace(pauses: Pauses, *_: Any) -> int:
        sys.settrace(None)
        # Nothing that is raised here comes to anybody; who interrupts does so again and again.
        with suppress(HandlerInterrupted):
            pauses.rest()
        return 0

    _at_line = _Tracing(_trace)
