"""Workflows that never end work by segments: how long each is, and when a history is long."""

from __future__ import annotations

from temporalio import workflow

FIRST_SECONDS = 2.0
"""The first segment: queries hear of a segment when it ends."""

# Soon while events come, seldom while none do.
_MOVING_SECONDS, _IDLE_SECONDS = 10.0, 60.0

# Sooner than Temporal would: signals may come in hundreds while the last ones are answered.
_LONG_HISTORY = 2000


def next_seconds(seconds: float, *, moved: bool) -> float:
    """How long the segment after one of so many seconds is: longer, up to a bound.

    Args:
        seconds: The last one.
        moved: Whether there was something to do.
    """
    return min(2 * seconds, _MOVING_SECONDS if moved else _IDLE_SECONDS)


def is_long() -> bool:
    """Whether this history should end soon; once true it stays so."""
    info = workflow.info()
    return info.is_continue_as_new_suggested() or (
        info.get_current_history_length() >= _LONG_HISTORY
    )
