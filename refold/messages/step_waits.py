"""What a step under way waits for, and what is going to stop the swap: known while it is so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import ValidationError

from refold.errors.words import shortened
from refold.messages.base import Message

SIGNAL = "step_waits"
"""The signal by which a worker tells a workflow what its step waits for, or has found."""

_MOST = 20


class StepWaits(Message):
    """What a worker says of a step that it is at.

    Attributes:
        step: See `refold.messages.step_failures.step_name`.
        waiting_for: Who or what holds it up, each in a line; empty when nothing does any more.
        obstacles: What is attached to the live table and would stop a swap, with what to do about
            it; None when it was not looked at.
    """

    step: str
    waiting_for: list[str]
    obstacles: list[str] | None = None


class StepsWaiting:
    """What the steps under way in a workflow wait for, and what they have found. Pure.

    Args:
        obstacles: What an execution before knew.
    """

    def __init__(self, obstacles: Sequence[str] = ()) -> None:
        self._pending: Counter[str] = Counter()
        self._waiting: dict[str, list[str]] = {}
        self.obstacles = list(obstacles)

    @property
    def waiting_for(self) -> list[str]:
        """All that is waited for, each once."""
        return list(dict.fromkeys(line for lines in self._waiting.values() for line in lines))

    def begun(self, step: str) -> None:
        """A step is under way."""
        self._pending[step] += 1

    def ended(self, step: str) -> bool:
        """A step has ended: it waits no more. Returns whether it did."""
        self._pending[step] -= 1
        if self._pending[step] > 0:
            return False
        del self._pending[step]
        return bool(self._waiting.pop(step, None))

    def heard(self, said: Sequence[object]) -> bool:
        """Takes in a signal's arguments, whatever they are: what is not understood is ignored.

        Returns:
            Whether anything is otherwise now.
        """
        try:
            waits = StepWaits.model_validate(said[0] if said else None)
        except ValidationError:
            return False
        was = (self.waiting_for, self.obstacles)
        if waits.step in self._pending:  # else the signal was slower than the step
            self._waiting[waits.step] = _short(waits.waiting_for)
        if waits.obstacles is not None:
            # The latest look counts, no matter which step has looked.
            self.obstacles = _short(waits.obstacles)
        return (self.waiting_for, self.obstacles) != was


def _short(lines: Sequence[str]) -> list[str]:
    return [shortened(line, 500) for line in lines[:_MOST]]
