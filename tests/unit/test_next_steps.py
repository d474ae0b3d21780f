"""What the Temporal UI says that a person can do about a run, in every status."""

from __future__ import annotations

import pytest
from typer.main import get_command

from refold.cli.main import app
from refold.errors import PoisonEvent
from refold.messages.run.endings import Why
from refold.messages.run.life import Phase, Progress
from refold.messages.run.next_steps import next_steps
from refold.messages.run.progress import as_markdown
from refold.messages.run.status import RunStatus
from refold.workflows.all import WORKFLOWS

_KINDS = ("Backfill", "Rebuild", "Rollback", "Snapshot")
_BUSY_WITH_ITS_END = {RunStatus.CANCELLING}


def _commands(said: str) -> list[list[str]]:
    return [part.split() for part in said.split("`")[1::2] if part.startswith("refold ")]


@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("kind", _KINDS)
def test_every_status_says_what_can_be_done(status: RunStatus, kind: str) -> None:
    said = next_steps(status, kind, "visits")
    assert (said is None) == (status in _BUSY_WITH_ITS_END)
    known = get_command(app).commands  # type: ignore[attr-defined]
    for command in _commands(said or ""):
        assert command[1] in known, command
        assert command[-1] == "visits"


def test_signals_that_are_named_are_there() -> None:
    signals = {
        name
        for workflow in WORKFLOWS
        for name in workflow.__temporal_workflow_definition.signals  # type: ignore[attr-defined]
    }
    for status in RunStatus:
        said = next_steps(status, "Rebuild", None)
        if said is not None and not status.ended:
            assert {*said.split("`")[1::2]} <= signals


def test_a_failed_run_names_its_failure_and_how_to_go_on() -> None:
    failure = Why(error="event 7: *ValueError*", error_type=PoisonEvent.__name__)
    said = next_steps(RunStatus.FAILED, "Rebuild", "visits", failure)
    assert said is not None
    assert "refold rebuild visits --on-poison set_aside" in said
    shown = as_markdown(
        Progress(status=RunStatus.FAILED, phase=Phase.DONE),
        "Rebuild visits",
        failure=failure,
        next_steps=said,
    )
    assert "event 7: \\*ValueError\\*" in shown
    assert said in shown
    rollback = next_steps(RunStatus.FAILED, "Rollback", "visits", failure)
    assert rollback is not None
    assert "--on-poison" not in rollback


def test_a_refused_request_is_to_be_corrected() -> None:
    said = next_steps(RunStatus.FAILED, "Rebuild", None)
    assert said == "Correct the request, and start it again."
