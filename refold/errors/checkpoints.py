"""What can go wrong with checkpoints that are kept apart from their rows."""

from __future__ import annotations

from refold.errors.base import RefoldError


class CheckpointStoreFailed(RefoldError):
    """A checkpoint store does not answer, or answers with an error (now)."""

    retryable = True

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"checkpoint store {place}: {why}")


class CheckpointLost(RefoldError):
    """A checkpoint store and the read model's database contradict each other."""
