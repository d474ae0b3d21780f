"""Where a thread stands: file and line of people's code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FrameType

# Those that call people's code; what they call is not ours, whatever it is called.
_OURS = (
    "refold.activities.",
    "refold.engine.",
    "refold.predicates.",
    "refold.projection.",
    "refold.runtime.calls.",
    "refold.runtime.threads",
    "refold.source.",
)

# A thread that pauses stands where it was made to.
_PAUSES = "refold.runtime.calls.pauses"


def where(thread: int | None) -> str:
    """Where people's code stands in a thread: its outermost line, and the innermost if another.

    Args:
        thread: As `threading.get_ident` has it.
    """
    frames = list(frames_of(thread))
    if not frames:
        return "a place that is not known"
    inner, outer = frames[0], frames[-1]
    if outer is inner:
        return _line(inner)
    return f"{_line(outer)}, in {_line(inner)}"


def frames_of(thread: int | None) -> Iterator[FrameType]:
    """The frames of people's code in a thread, from the innermost; of ours, the innermost alone.

    Args:
        thread: As `threading.get_ident` has it.
    """
    frame = sys._current_frames().get(thread) if thread is not None else None
    while frame is not None and _name(frame) == _PAUSES:
        frame = frame.f_back
    innermost = True
    while frame is not None and (innermost or not _name(frame).startswith(_OURS)):
        yield frame
        if _name(frame).startswith(_OURS):
            return
        innermost = False
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
