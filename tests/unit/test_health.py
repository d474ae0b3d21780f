"""Health in words: what is wrong, and what to type."""

from __future__ import annotations

import pytest

from refold.cli.live import length_of
from refold.health import Standing, judged
from refold.live import LiveStatus


@pytest.mark.parametrize(("generation", "command"), [(None, "rebuild"), (3, "start")])
def test_a_stopped_projection_says_what_to_type(generation: int | None, command: str) -> None:
    standing = Standing(projection="visits", generation=generation)
    health = judged(standing, LiveStatus.STOPPED, None, None)
    assert health.reason == f"it is stopped: `refold {command} visits`"


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
