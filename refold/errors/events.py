"""What is wrong with an event, or with what people's code makes of it."""

from __future__ import annotations

from typing import Any

from refold.errors.base import RefoldError
from refold.errors.words import shortened
from refold.event import Event

# Characters of types and streams, which are as long as their writers like, and of reasons.
_NAME, _REASON = 200, 1_000


class PoisonEvent(RefoldError):
    """An event that a handler or a key cannot take.

    Type, stream and reason are shortened: it goes into histories and logs. The position is exact.
    """

    def __init__(
        self, projection: str, position: int, event_type: str, stream_id: str, reason: str
    ) -> None:
        self.projection = projection
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.reason = shortened(reason, _REASON)
        super().__init__(
            f"projection {projection!r} cannot take event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): {self.reason}"
        )

    @property
    def place(self) -> dict[str, Any]:
        """Which event it is, as JSON has it."""
        return {
            "position": self.position,
            "event_type": self.event_type,
            "stream_id": self.stream_id,
        }


class HandlerOverdue(RefoldError):
    """A call of people's code that does not return in time."""

    def __init__(
        self,
        projection: str,
        position: int,
        event_type: str,
        stream_id: str,
        *,
        seconds: float,
        where: str,
    ) -> None:
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.where = where
        super().__init__(
            f"projection {projection!r} does not come to an end with event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): expected each call of a handler, "
            f"of a key function and of a predicate to return within {seconds:g} s, one stands at "
            f"{where}: mend it, or set REFOLD_HANDLER_SECONDS higher"
        )

    @classmethod
    def of(cls, projection: str, event: Event, seconds: float, where: str) -> HandlerOverdue:
        """The error for an event."""
        return cls(
            projection,
            event.position,
            event.type,
            event.stream_id,
            seconds=seconds,
            where=where,
        )

    @property
    def place(self) -> dict[str, Any]:
        """Which event it is, as JSON has it."""
        return {
            "position": self.position,
            "event_type": self.event_type,
            "stream_id": self.stream_id,
        }


class HandlerInterrupted(BaseException):
    """Raised in a thread whose call of people's code is overdue: nobody is to catch it."""


class NoThreadLeft(RefoldError):
    """Too many threads of this worker are in people's code that does not return."""

    retryable = True

    def __init__(self, left: int) -> None:
        super().__init__(
            f"this worker has {left} threads in people's code that does not return, and begins no "
            "other: its log says where they stand; mend that, and start the worker again"
        )


class PredicateFailed(RefoldError):
    """An event for which a predicate is neither true nor false."""

    def __init__(
        self, predicate: str, position: int, event_type: str, stream_id: str, reason: str
    ) -> None:
        self.predicate = predicate
        self.position = position
        self.event_type = shortened(event_type, _NAME)
        self.stream_id = shortened(stream_id, _NAME)
        self.reason = shortened(reason, _REASON)
        shown = predicate if len(predicate) <= 200 else f"{predicate[:200]}…"
        super().__init__(
            f"predicate {shown!r} fails for event {position} "
            f"({self.event_type} of stream {self.stream_id!r}): {self.reason}"
        )

    @classmethod
    def of(cls, predicate: str, event: Event, reason: str) -> PredicateFailed:
        """The error for an event."""
        return cls(predicate, event.position, event.type, event.stream_id, reason)


class UnreadableEvent(RefoldError):
    """An event's JSON or time cannot be decoded."""

    @classmethod
    def timed(cls, position: int, at: str) -> UnreadableEvent:
        """The error for an event that was recorded at a time which Python does not have."""
        return cls(
            f"event {position}: expected a recorded_at from the year 1 to 9999, got {at!r}: no "
            "handler can be given it"
        )


class WrongExpectedVersion(RefoldError):
    """An append expected its stream at another version than it is."""

    def __init__(self, stream_id: str, expected: int, actual: int) -> None:
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual
        super().__init__(
            f"stream {stream_id!r}: expected version {expected}, actual version {actual}: "
            "read the stream again and decide anew"
        )


class InvalidEventFile(RefoldError):
    """A line of an event file is not an event; nothing was imported."""

    def __init__(self, line: int, reason: str) -> None:
        self.line = line
        super().__init__(f"line {line}: {reason}; nothing was imported")
