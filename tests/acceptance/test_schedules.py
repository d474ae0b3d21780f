"""Schedules on `refold dev`, by `refold` and by Temporal's own command line."""

from __future__ import annotations

import json
import time

import pytest

from tests.acceptance.stack import DevStack

DONE, FAILED, USAGE = 0, 1, 2

NAME = "order-summary"
NIGHTLY = ("--cron", "0 3 * * *")


def test_a_schedule_from_its_making_to_its_end(dev: DevStack) -> None:
    options = ("--full", "--atomic", "--time-zone", "Europe/Berlin", "--json")
    added = dev.refold("schedule", "add", NAME, *NIGHTLY, *options)
    assert added.status == DONE, added.err
    made = added.json()
    assert (made["id"], made["when"]) == (f"schedule/{NAME}", ["0 3 * * *"])
    assert made["request"]["criteria"] == "full_rebuild"
    assert made["request"]["is_atomic"] is True
    again = dev.refold("schedule", "add", NAME, *NIGHTLY)
    assert again.status == FAILED
    assert f"refold schedule remove schedule/{NAME}" in again.err
    by_hand = dev.temporal(
        *("schedule", "create", "--schedule-id", "by-hand", "--cron", "0 4 * * *"),
        *("--overlap-policy", "Skip", "--catchup-window", "24h", "--time-zone", "Asia/Tokyo"),
        *("--type", "Backfill", "-t", "refold", "-w", f"backfill/{NAME}"),
        *("--input", json.dumps({"projection": NAME})),
    )
    assert by_hand.status == DONE, by_hand.err
    assert _ids(dev, 2) == ["by-hand", f"schedule/{NAME}"]
    shown = dev.refold("schedule", "list")
    assert "0 4 * * * Asia/Tokyo" in shown.out
    assert '"criteria":"full_rebuild"' in shown.out
    for schedule_id in ("by-hand", f"schedule/{NAME}"):
        removed = dev.refold("schedule", "remove", schedule_id)
        assert removed.status == DONE, removed.err
    assert _ids(dev, 0) == []


def _ids(dev: DevStack, count: int) -> list[str]:
    """The listed schedules: Temporal's list lags a moment behind."""
    deadline = time.monotonic() + 20
    while True:
        found = [one["id"] for one in dev.refold("schedule", "list", "--json").json()]
        if len(found) == count or time.monotonic() > deadline:
            return found


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["add", "nope", *NIGHTLY], FAILED, "expected one of"),
        (["add", NAME, *NIGHTLY, "--approval", "manual"], FAILED, "expected with is_atomic"),
        (["add", NAME, "--cron", "at three"], FAILED, "cron: expected minute, hour"),
        (["remove", "nope"], FAILED, "there are (none), got 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told(
    dev: DevStack, arguments: list[str], status: int, expected: str
) -> None:
    ended = dev.refold("schedule", *arguments)
    assert ended.status == status, ended.err
    assert expected in ended.err
    assert "Traceback" not in ended.err
