"""Log lines as JSON: what they are about, and nothing that is not known."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from refold.engine.step import Step
from refold.errors import ConfigurationError
from refold.runtime.settings import load_settings
from refold.runtime.telemetry.logs import JsonFormatter, begin_about


def line(message: str = "a line", **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("refold.x", logging.WARNING, "", 1, message, None, None)
    for name, value in more.items():
        setattr(record, name, value)
    written = JsonFormatter().format(record)
    assert "\n" not in written
    parsed: dict[str, Any] = json.loads(written)
    return parsed


def test_outside_of_any_step_a_line_says_only_what_it_says() -> None:
    found = line("two\nlines")
    assert found.keys() == {"timestamp", "level", "logger", "message"}
    assert found["message"] == "two\nlines"
    assert (found["level"], found["logger"]) == ("WARNING", "refold.x")
    assert found["timestamp"].endswith("+00:00")


async def test_in_a_step_it_says_of_what_and_how_far() -> None:
    async def step() -> tuple[dict[str, Any], dict[str, Any]]:
        begin_about(run_id="the-run", projection="orders")
        before = line()
        Step().show(position=17, head=20)
        return before, line()

    environment = ActivityEnvironment()
    before, after = await environment.run(step)
    info = environment.info
    assert before["workflow_id"] == info.workflow_id
    assert (before["activity"], before["attempt"]) == (info.activity_type, info.attempt)
    # The run's own id, not that of the execution at hand.
    assert (before["run_id"], before["projection"]) == ("the-run", "orders")
    assert "position" not in before
    assert after["position"] == 17


def test_of_several_processes_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_WORKER_NUMBER", "3")
    assert line()["worker"] == 3


def test_an_exception_is_a_field() -> None:
    try:
        raise ValueError("x")
    except ValueError:
        found = line(exc_info=sys.exc_info())
    assert "ValueError: x" in found["exception"]


def test_another_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_LOG_FORMAT", "xml")
    with pytest.raises(ConfigurationError, match=r"REFOLD_LOG_FORMAT: .*'text' or 'json'"):
        load_settings()
