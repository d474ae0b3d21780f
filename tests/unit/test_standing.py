"""In one word where a projection is, and what to type next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from refold.cli.status.state import state_of
from refold.messages.live import LiveStatus
from refold.messages.run.status import RunStatus

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def run(status: RunStatus, ended_at: datetime | None = None) -> dict[str, Any]:
    return {"kind": "Rebuild", "status": status, "started_at": NOON, "ended_at": ended_at}


def live(status: LiveStatus, error_at: datetime | None = None) -> dict[str, Any]:
    return {"status": status, "error_at": error_at}


STOPPED = live(LiveStatus.STOPPED)


@pytest.mark.parametrize(
    ("standing", "state", "command"),
    [
        ({}, "not built", "refold rebuild visits"),
        ({"run": run(RunStatus.FAILED, LATER)}, "failed", "refold rebuild visits"),
        ({"run": run(RunStatus.RUNNING)}, "running", "refold watch visits"),
        ({"generation": 1}, "not followed", "refold start visits"),
        ({"generation": 1, "live": None}, "not known", None),
        ({"generation": 1, "live": live(LiveStatus.LIVE)}, "live", None),
        ({"generation": 1, "live": live(LiveStatus.CATCHING_UP)}, "catching_up", None),
        (
            {"generation": 1, "live": live(LiveStatus.LIVE), "dead_letters": 2},
            "live",
            "refold dead-letters list visits",
        ),
        (
            {"generation": 1, "live": live(LiveStatus.FAILED, LATER)},
            "failed",
            "refold restart visits",
        ),
        (
            {"generation": 1, "live": live(LiveStatus.NEEDS_REBUILD)},
            "needs_rebuild",
            "refold rebuild visits",
        ),
        # Whoever has to decide comes first.
        (
            {
                "generation": 1,
                "live": live(LiveStatus.FAILED),
                "run": run(RunStatus.AWAITING_APPROVAL),
            },
            "awaiting_approval",
            "refold diff visits",
        ),
        (
            {"generation": 1, "live": live(LiveStatus.LIVE), "run": run(RunStatus.PAUSED)},
            "paused",
            "refold resume visits",
        ),
        # A live projection in trouble is no less so while a run is at work,
        (
            {"live": live(LiveStatus.FAILED, LATER), "run": run(RunStatus.RUNNING)},
            "failed",
            "refold restart visits",
        ),
        (
            {
                "live": live(LiveStatus.NEEDS_REBUILD),
                "run": run(RunStatus.RUNNING) | {"kind": "Backfill"},
            },
            "needs_rebuild",
            "refold rebuild visits",
        ),
        # unless that is the rebuild which it needs.
        (
            {"live": live(LiveStatus.NEEDS_REBUILD), "run": run(RunStatus.RUNNING)},
            "running",
            "refold watch visits",
        ),
        # A run that failed is past once something was swapped in.
        ({"generation": 1, "run": run(RunStatus.FAILED, LATER)}, "failed", "refold rebuild visits"),
        (
            {"generation": 1, "run": run(RunStatus.FAILED, NOON), "swapped_at": LATER},
            "not followed",
            "refold start visits",
        ),
        (
            {"generation": 1, "run": run(RunStatus.COMPLETED, LATER)},
            "not followed",
            "refold start visits",
        ),
    ],
)
def test_the_state_and_what_to_type(
    standing: dict[str, Any], state: str, command: str | None
) -> None:
    whole: dict[str, Any] = {
        "projection": "visits",
        "generation": None,
        "swapped_at": None,
        "run": None,
        "live": STOPPED,
        "dead_letters": 0,
    }
    found = state_of(whole | standing)
    assert found["state"] == state
    assert found["next_command"] == command
