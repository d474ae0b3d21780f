"""An event as projections see it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic, NamedTuple, TypeVar

Data = TypeVar("Data")


class Event(NamedTuple):
    """One fact of the log.

    A named tuple, because a rebuild makes millions of them and nobody may change one.

    Attributes:
        position: Place in the whole log, from 1; later events have higher positions, with gaps.
        stream_id: The stream (aggregate) that the event belongs to.
        version: Place within its stream, from 1.
        type: What happened, such as ``OrderPlaced``.
        data: The event's body, as decoded from JSON. A number that neither a float nor 64 bits can
            hold is a Decimal, or an int if it is whole.
        metadata: What is known about the event, such as a correlation id.
        recorded_at: When it was recorded; handlers and predicates are given it in UTC.
    """

    position: int
    stream_id: str
    version: int
    type: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    recorded_at: datetime


class TypedEvent(NamedTuple, Generic[Data]):
    """An `Event` whose data are an instance of a class: what a handler of that class is given.

    Attributes:
        data: The instance.
        position: As in `Event`, and so are the others.
        stream_id: The stream.
        version: Place within its stream.
        type: What happened.
        metadata: What is known about the event.
        recorded_at: When it was recorded, in UTC.
    """

    position: int
    stream_id: str
    version: int
    type: str
    data: Data
    metadata: dict[str, Any]
    recorded_at: datetime


def in_utc(event: Event) -> Event:
    """The event as handlers are given it, whatever zone its time came in."""
    if event.recorded_at.tzinfo is UTC:
        return event
    return event._replace(recorded_at=event.recorded_at.astimezone(UTC))
