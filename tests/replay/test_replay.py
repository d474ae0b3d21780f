"""Workflows replay the histories of each shape of run: a new worker can take over an old run."""

from __future__ import annotations

import pkgutil

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

import refold
from refold.messages.run.status import RunStatus
from refold.workflows.all import WORKFLOWS
from tests.replay.record import HISTORIES, files
from tests.replay.shapes import CONTINUED, SHAPES
from tests.support.transitions import illegal, watched_statuses

_OTHERS = [
    f"refold.{package.name}"
    for package in pkgutil.iter_modules(refold.__path__)
    if package.name != "workflows"
]
RECORDED = sorted(HISTORIES.glob("*.json"))


@pytest.mark.parametrize("name", [*SHAPES, *CONTINUED])
def test_every_shape_is_recorded(name: str) -> None:
    assert files(name), f"record it: python -m tests.replay.record {name}"


@pytest.mark.parametrize("name", [file.stem for file in RECORDED])
async def test_history_replays(name: str) -> None:
    history = WorkflowHistory.from_json(
        f"replayed-{name}", (HISTORIES / f"{name}.json").read_text()
    )
    # All of the workflows' own code in the sandbox, which refuses what is not the same each time.
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=pydantic_data_converter,
        workflow_runner=SandboxedWorkflowRunner(
            restrictions=SandboxRestrictions.default.with_passthrough_modules(*_OTHERS)
        ),
    )
    await replayer.replay_workflow(history)


async def test_every_status_is_seen_and_none_follows_another_that_it_may_not() -> None:
    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=pydantic_data_converter,
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    with watched_statuses() as seen:
        for file in RECORDED:
            history = WorkflowHistory.from_json(f"replayed-{file.stem}", file.read_text())
            await replayer.replay_workflow(history)
    assert {status for both in seen for status in both} == set(RunStatus)
    assert illegal(seen) == []
