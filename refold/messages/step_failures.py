"""A step that fails and is tried again: what is known of it, while it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, ValidationError

from refold.errors.words import shortened
from refold.messages.base import Message

SIGNAL = "step_failed"
"""The signal by which a worker tells a workflow that its step is going to be tried again."""

_NAMES = {
    "begin_run": "planning",
    "begin_rollback": "planning",
    "begin_snapshot": "planning",
    "copy_generation": "copying",
    "refold_segment": "refolding",
    "follow_segment": "following",
    "build_indexes": "indexing",
    "verify_generation": "verifying",
    "prepare_swap": "preparing the swap",
    "swap_generation": "swapping",
    "drop_generations": "dropping old generations",
    "finish_run": "cleaning up",
    "watch_progress": "reading progress",
    "control_run": "telling the segments",
    "follow_live": "following",
    "record_system_event": "recording a system event",
    "read_system_events": "reading system events",
    "next_deliveries": "reading system events",
    "handle_system_event": "handling a system event",
    "give_up_delivery": "giving a system event up",
    "copy_events": "copying events",
    "end_mirror": "ending the mirror",
}


def step_name(activity_type: str, arguments: Sequence[Any]) -> str:
    """What people call the step that an activity does: ``refolding partition 2``."""
    name = _NAMES.get(activity_type, activity_type)
    partition = getattr(arguments[0], "partition", None) if arguments else None
    return f"{name} partition {partition + 1}" if isinstance(partition, int) else name


class StepFailed(Message):
    """What a worker says of an attempt that has failed and is going to be followed by another.

    Attributes:
        step: See `step_name`.
        type: Such as ``DeadlockDetectedError``.
        message: One sentence.
        attempts: How many have failed so far, from 1.
    """

    step: str
    type: str
    message: str
    attempts: Annotated[int, Field(ge=1, le=2**31)]


class StepFailure(Message):
    """The last failure of a step that is being tried again.

    Attributes:
        step: What fails: ``refolding partition 2``.
        type: Such as ``DeadlockDetectedError``.
        message: One sentence.
        since: When it first failed, by the workflow's clock.
        attempts: How many attempts had failed by `last_at`.
        last_at: When this was heard last; what stays the same is told more and more seldom.
    """

    step: str
    type: str
    message: str
    since: datetime
    attempts: int
    last_at: datetime

    def __str__(self) -> str:
        times = "once" if self.attempts == 1 else f"{self.attempts:,} times"
        return (
            f"{self.step} fails and is tried again ({times} since "
            f"{self.since:%Y-%m-%d %H:%M:%S %Z}): {self.message}"
        )


class StepFailures:
    """The steps under way in a workflow, and what is known of those that fail. Pure.

    Args:
        known: Of an execution before: it is forgotten as soon as any step works.
    """

    def __init__(self, known: StepFailure | None = None) -> None:
        self._pending: Counter[str] = Counter()
        self._failing: dict[str, StepFailure] = {}
        self._known = known

    @property
    def latest(self) -> StepFailure | None:
        """What was heard last; None when nothing fails."""
        return max(self._failing.values(), key=lambda one: one.last_at, default=self._known)

    def begun(self, step: str) -> None:
        """A step is under way."""
        self._pending[step] += 1

    def ended(self, step: str) -> bool:
        """A step has ended, however it did. Returns whether `latest` may be another now."""
        self._pending[step] -= 1
        was = self.latest
        self._known = None
        if self._pending[step] <= 0:
            del self._pending[step]
            self._failing.pop(step, None)
        return self.latest != was

    def heard(self, said: Sequence[Any], at: datetime) -> bool:
        """Takes in a signal's arguments, whatever they are: what is not understood is ignored.

        Returns:
            Whether it says something of a step that is under way.
        """
        try:
            failed = StepFailed.model_validate(said[0] if said else None)
        except ValidationError:
            return False
        if failed.step not in self._pending:
            return False  # it has ended: the signal was slower
        before = self._failing.get(failed.step)
        self._failing[failed.step] = StepFailure(
            step=failed.step,
            type=shortened(failed.type, 200),
            message=shortened(failed.message),
            since=at if before is None else before.since,
            attempts=failed.attempts,
            last_at=at,
        )
        return True
