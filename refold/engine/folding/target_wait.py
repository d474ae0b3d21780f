"""A row refers to one of another read model that is behind: what comes before it goes on."""

from __future__ import annotations

import asyncio

from refold.errors import TargetBehind

# The other one is looked at as often: each time a batch is folded anew.
_LOOK_SECONDS = 0.5


class TargetWait:
    """How far a follower may go while the row of an event waits for another read model.

    Attributes:
        waiting_for: What it waits for, in a line; empty when it does not.
    """

    def __init__(self) -> None:
        self.waiting_for: list[str] = []
        self._before = 0

    def upto(self, position: int, head: int) -> int:
        """Where the next batch ends (inclusive), from a checkpoint on."""
        return min(head, self._before) if position < self._before else head

    async def behind(self, error: TargetBehind, position: int) -> None:
        """A batch was rolled back; returns when the next one may be tried from `position` on."""
        self.waiting_for = [f"event {error.position}: {error.waits_for}"]
        self._before = error.position - 1
        if position >= self._before:
            await asyncio.sleep(_LOOK_SECONDS)

    def reached(self, position: int) -> None:
        """The checkpoint is there."""
        if position > self._before:
            self.waiting_for = []
