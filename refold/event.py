"""An event as projections see it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple


class Event(NamedTuple):
    """One fact of the log.

    A named tuple, because a rebuild makes millions of them and nobody may change one.

    Attributes:
        position: Place in the whole log, from 1; later events have higher positions, with gaps.
        stream_id: The stream (aggregate) that the event belongs to.
        version: Place within its stream, from 1.
        type: What happened, such as ``OrderPlaced``.
        data: The event's body, as decoded from JSON.
        metadata: What is known about the event, such as a correlation id.
        recorded_at: When it was recorded; always with a time zone.
    """

    position: int
    stream_id: str
    version: int
    type: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    recorded_at: datetime
