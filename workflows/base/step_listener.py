"""Workflows hear from workers that a step fails and is tried again, or waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from refold.messages import step_waits
    from refold.messages.step_failures import SIGNAL, StepFailure, StepFailures
    from refold.messages.step_waits import StepsWaiting


class StepListener:
    """Base of workflows that know which of their steps fail, or wait.

    Args:
        known: What the execution before this one knew.
        obstacles: What is attached to the live table and stops a swap, as that execution knew it.
    """

    def __init__(self, known: StepFailure | None = None, obstacles: Sequence[str] = ()) -> None:
        self._failures = StepFailures(known)
        self._waits = StepsWaiting(obstacles)

    @workflow.signal(name=SIGNAL, description="A worker says that a step is going to be retried")
    def step_failed(self, *said: Any) -> None:
        """From Refold's workers; whatever else it brings is ignored."""
        if self._failures.heard(said, workflow.now()):
            self._heard()

    @workflow.signal(name=step_waits.SIGNAL, description="A worker says what a step waits for")
    def step_waits(self, *said: Any) -> None:
        """From Refold's workers; whatever else it brings is ignored."""
        if self._waits.heard(said):
            self._heard()

    def step_begun(self, step: str) -> None:
        """A step is under way."""
        self._failures.begun(step)
        self._waits.begun(step)

    def step_ended(self, step: str) -> None:
        """A step has ended; what was known of its failures and waits is forgotten."""
        waited = self._waits.ended(step)
        if self._failures.ended(step) or waited:
            self._heard()

    @property
    def _knows_obstacles(self) -> bool:
        """Whether it knows of something that would stop a swap."""
        return bool(self._waits.obstacles)

    def _heard(self) -> None:
        """Puts what is known of failures and waits where people see it."""
