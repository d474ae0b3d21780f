"""What a manager's call came to."""

from __future__ import annotations

from refold.errors.base import RefoldError
from refold.errors.codes import code_of
from refold.errors.requests import ProjectionBusy


class RunFailed(RefoldError):
    """A run ended in failure, or was refused.

    Attributes:
        type: What it failed at, such as ``PoisonEvent``; see docs/errors.md.
        message: The workflow's own words.
        is_transient: Whether the same may work later though nobody mends anything.
    """

    def __init__(self, message: str, *, type: str = "", is_transient: bool = False) -> None:  # noqa: A002
        super().__init__(message)
        self.message = message
        self.type = type
        self.is_transient = is_transient

    @property
    def code(self) -> str:
        """The stable code of what it failed at, such as ``RF301``."""
        return code_of(self.type)


AlreadyRunning = ProjectionBusy
"""Somebody else runs, under whatever workflow id: the same error."""


class NoRun(RefoldError):
    """No run of that projection is known."""


class NotAwaited(RefoldError):
    """An approval for a run that awaits none."""


class NotLive(RefoldError):
    """No live projection of that name runs."""
