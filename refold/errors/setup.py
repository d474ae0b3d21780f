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


class UnreadablePayload(RefoldError):
    """What came from Temporal is encrypted, and this process has not the key that opens it."""

    @classmethod
    def without_keys(cls, key: str) -> Self:
        """The error of a process without any key."""
        return cls(
            f"what came from Temporal is encrypted with key {key!r}: expected a key file that has "
            "it, got none: let REFOLD_PAYLOAD_KEY_FILE name the file that the workers have"
        )

    @classmethod
    def of_another_key(cls, key: str, source: str, known: Sequence[str]) -> Self:
        """The error of a process that has other keys."""
        return cls(
            f"what came from Temporal is encrypted with key {key!r}: expected it in {source}, got "
            f"{', '.join(known)} there: add its line, or take the file that the workers have"
        )

    @classmethod
    def not_opened(cls, key: str, source: str) -> Self:
        """The error of a process whose key of that id is not the one."""
        return cls(
            f"what came from Temporal is encrypted with key {key!r}: the key of that id in "
            f"{source} does not open it: expected the very key that encrypted it: take the file "
            "that the workers have"
        )


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
