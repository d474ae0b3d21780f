"""What is wrong with settings, the database or a declaration, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from refold.errors.base import RefoldError
from refold.errors.words import meant


class ConfigurationError(RefoldError):
    """A setting is missing or cannot work."""


class TemporalUnreachable(RefoldError):
    """The Temporal server does not answer; it may later."""

    retryable = True


class EventsUnreachable(RefoldError, ConnectionError):
    """The database of the events, when it is another one, does not answer; it may later."""

    retryable = True

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"the database of the events ({place}) {why}; it is tried again")


class NotMigrated(RefoldError):
    """The database does not have the schema ``refold`` that this version needs."""


class InvalidProjection(RefoldError):
    """A projection is declared in a way that cannot work."""


class UnknownProjection(RefoldError):
    """No projection of that name is registered with this worker."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        accepted = ", ".join(sorted(known)) or "none: REFOLD_PROJECTIONS names no projection"
        super().__init__(
            f"projection: expected one of ({accepted}), got {name!r}{meant(name, known)}"
        )

    @classmethod
    def said(cls, name: str, message: str) -> Self:
        """The error, in the words in which a worker has said it."""
        made = cls(name, [])
        made.args = (message,)
        return made
