"""Health in words: what is wrong, and what to type."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from refold.cli.output import length_of
from refold.manager.health import Standing, judged
from refold.messages.live import LiveError, LiveHealth, LiveStatus
from refold.messages.live_markdown import as_markdown


@pytest.mark.parametrize(("generation", "command"), [(None, "rebuild"), (3, "start")])
def test_a_stopped_projection_says_what_to_type(generation: int | None, command: str) -> None:
    standing = Standing(projection="visits", generation=generation)
    health = judged(standing, LiveStatus.STOPPED, None, None)
    assert health.reason == f"it is stopped: `refold {command} visits`"


def test_one_that_needs_a_rebuild_says_why() -> None:
    standing = Standing(projection="visits", generation=3)
    health = judged(standing, LiveStatus.NEEDS_REBUILD, None, "version 2 is registered")
    assert health.reason == "it needs a rebuild: version 2 is registered"


def test_one_that_does_not_answer_may_have_no_worker() -> None:
    health = judged(Standing(projection="visits"), LiveStatus.STARTING, None, None)
    assert health.reason == "it is starting, or no worker answers"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 s"),
        (119.94, "119.9 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2 h"),
        (172_800, "2 days"),
        (504_540_593.5, "5,840 days"),
    ],
)
def test_a_lag_is_told_in_the_largest_unit_of_which_there_are_two(
    seconds: float, told: str
) -> None:
    assert length_of(seconds) == told


@pytest.mark.parametrize(
    ("next_at", "told"),
    [
        (None, "attempts: 5; `refold restart visits` tries again"),
        (
            datetime(2026, 3, 1, 9, 30, tzinfo=UTC),
            "attempts: 5; tried again at 09:30:00 UTC, or at once by `refold restart visits`",
        ),
    ],
)
def test_a_failed_projection_says_when_it_is_tried_again(
    next_at: datetime | None, told: str
) -> None:
    at = datetime(2026, 3, 1, 9, tzinfo=UTC)
    error = LiveError(type="X", message="no", at=at, attempts=5, next_attempt_at=next_at)
    shown = as_markdown(LiveHealth(projection="visits", status=LiveStatus.FAILED, error=error))
    assert shown.splitlines()[-1] == told
