"""A system event as it was recorded, and as a workflow remembers it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from refold.messages.base import Message

_MOST_BYTES = 2000


class RecordedEvent(Message):
    """A system event as it was recorded.

    Attributes:
        projection: Which projection it is about.
        number: Its place among the projection's system events, from 1, without gaps.
        type: What happened, such as ``ProjectionStarted``.
        data: Its own fields.
        correlation_id: Ties what comes of a request to the request.
        recorded_at: When it was recorded.
    """

    projection: str
    number: int
    type: str
    data: dict[str, Any]
    correlation_id: str | None = None
    recorded_at: datetime

    @property
    def id(self) -> str:
        """The same for each delivery of this event, and for no other event."""
        return f"{self.projection}/{self.number}"


def brief(recorded: RecordedEvent) -> RecordedEvent:
    """The event as a workflow remembers it: without its fields if they are large."""
    size = len(orjson.dumps(recorded.data))
    if size <= _MOST_BYTES:
        return recorded
    said = {"left_out": f"{size:,} bytes: `refold log` shows them"}
    return recorded.model_copy(update={"data": said})
