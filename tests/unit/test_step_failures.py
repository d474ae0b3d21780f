"""What a workflow knows of its failing steps, and how often a worker tells it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from refold.messages.step_failures import StepFailures, step_name
from refold.worker.interceptors.attempts import LONGEST_TELL_SECONDS, Telling
from tests.replay.shapes import NONSENSE

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SAID = {"step": "indexing", "type": "E", "message": "m", "attempts": 1}


def _heard(failures: StepFailures, **more: Any) -> bool:
    return failures.heard([{**SAID, **more}], NOON)


def test_a_step_that_fails_is_known_until_it_ends() -> None:
    failures = StepFailures()
    failures.begun("indexing")
    assert _heard(failures)
    assert failures.heard([{**SAID, "attempts": 4}, "more"], NOON + timedelta(minutes=1))
    latest = failures.latest
    assert latest is not None
    assert (latest.attempts, latest.since) == (4, NOON)
    assert "indexing fails and is tried again (4 times since 2026-01-01 12:00:00 UTC)" in str(
        latest
    )
    assert failures.ended("indexing")
    assert failures.latest is None


def test_of_several_the_last_is_shown_and_the_others_come_back() -> None:
    failures = StepFailures()
    for step in ("refolding partition 1", "refolding partition 2"):
        failures.begun(step)
        failures.heard([{**SAID, "step": step}], NOON + timedelta(seconds=len(failures._failing)))
    assert failures.latest is not None
    assert failures.latest.step == "refolding partition 2"
    failures.ended("refolding partition 2")
    assert failures.latest is not None
    assert failures.latest.step == "refolding partition 1"


def test_what_is_heard_of_a_step_that_has_ended_comes_too_late() -> None:
    failures = StepFailures()
    assert not _heard(failures)
    failures.begun("indexing")
    failures.ended("indexing")
    assert not _heard(failures)
    assert failures.latest is None


@pytest.mark.parametrize("said", NONSENSE, ids=repr)
def test_nonsense_is_ignored(said: list[Any]) -> None:
    failures = StepFailures()
    failures.begun("refolding partition 1")
    assert not failures.heard(said, NOON)


def test_what_is_heard_is_kept_short() -> None:
    failures = StepFailures()
    failures.begun("indexing")
    assert _heard(failures, type="é" * 10_000, message="é" * 1_000_000)
    assert len(str(failures.latest).encode()) < 2_300


def test_what_an_execution_before_knew_is_forgotten_when_a_step_ends() -> None:
    before = StepFailures()
    before.begun("indexing")
    _heard(before)
    failures = StepFailures(before.latest)
    assert failures.latest is not None
    failures.begun("swapping")
    failures.ended("swapping")
    assert failures.latest is None


def test_steps_have_names_that_people_know() -> None:
    segment = SimpleNamespace(partition=1)
    assert step_name("refold_segment", [segment]) == "refolding partition 2"
    assert step_name("finish_run", ["x"]) == "cleaning up"
    assert step_name("something_else", []) == "something_else"


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _told_within(seconds: float, messages: list[str], every: float = 10.0) -> list[float]:
    """When a failure is told that comes every so many seconds."""
    clock = _Clock()
    telling = Telling(clock)
    told = []
    attempt = 0
    while clock.now < seconds:
        attempt += 1
        message = messages[attempt % len(messages)]
        if telling.is_due("E", message, attempt):
            telling.told("E", message, attempt)
            told.append(clock.now)
        clock.now += every
    return told


def test_a_failure_is_told_at_once_and_then_more_and_more_seldom() -> None:
    hour, day = _told_within(3600, ["m"]), _told_within(86_400, ["m"])
    assert hour[:3] == [0, 10, 30]
    assert len(hour) < 40
    assert len(day) < 250
    pauses = [after - before for before, after in itertools.pairwise(day)]
    assert max(pauses) <= LONGEST_TELL_SECONDS + 10


@pytest.mark.parametrize(
    "messages", [["m"], ["port 1", "port 22"], ["this", "that", "something else"]]
)
def test_a_history_has_room_for_weeks_of_failing(messages: list[str]) -> None:
    # Each telling makes four events; a history may have 50,000.
    assert 4 * len(_told_within(14 * 86_400, messages)) < 20_000


def test_another_failure_is_told_soon() -> None:
    clock = _Clock()
    telling = Telling(clock)
    telling.told("E", "m", 1)
    clock.now = 60
    assert telling.is_due("E", "another", 2)
    assert telling.is_due("F", "m", 2)
    telling.told("E", "m 1", 2)
    clock.now = 65
    assert not telling.is_due("E", "m 22", 3)
