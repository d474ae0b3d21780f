"""Where a thread stands: file and line of people's code."""

from __future__ import annotations

import sys
from types import FrameType

# Those that call people's code; what they call is not ours, whatever it is called.
_OURS = (
    "refold.activities.",
    "refold.engine.",
    "refold.predicates.",
    "refold.projection.",
    "refold.runtime.job",
    "refold.runtime.threads",
    "refold.source.",
)


def where(thread: int | None) -> str:
    """Where people's code stands in a thread: its outermost line, and the innermost if another.

    Args:
        thread: As `threading.get_ident` has it.
    """
    frame = sys._current_frames().get(thread) if thread is not None else None
    if frame is None:
        return "a place that is not known"
    inner = outer = frame
    while frame is not None and not _is_ours(frame):
        outer = frame
        frame = frame.f_back
    if outer is inner:
        return _line(inner)
    return f"{_line(outer)}, in {_line(inner)}"


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.startswith(_OURS)


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} ({frame.f_code.co_name})"
