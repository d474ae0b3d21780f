"""Workflows hear from workers that a step fails and is tried again."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from refold.step_failure import SIGNAL, StepFailure, StepFailures


class Hears:
    """Base of workflows that know which of their steps fail.

    Args:
        known: What an execution before knew.
    """

    def __init__(self, known: StepFailure | None = None) -> None:
        self._failures = StepFailures(known)

    @workflow.signal(name=SIGNAL, description="A worker says that a step is going to be retried")
    def step_failed(self, *said: Any) -> None:
        """From Refold's workers; whatever else it brings is ignored."""
        if self._failures.heard(said, workflow.now()):
            self._heard()

    def step_begun(self, step: str) -> None:
        """A step is under way."""
        self._failures.begun(step)

    def step_ended(self, step: str) -> None:
        """A step has ended; what was known of its failures is forgotten."""
        if self._failures.ended(step):
            self._heard()

    def _heard(self) -> None:
        """Puts what is known of failures where people see it."""
