"""Message DB (Eventide)."""

from __future__ import annotations

from sqlalchemy import select

from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described

# Commands and the positions of consumers are in the same table, in categories of these types.
_NO_EVENTS = r"^[^-]*:([^-]*\+)?(command|position)(\+|-|$)"


def message_db(*, schema: str = "message_store") -> EventSource:
    """Message DB 1.3: its table ``messages``, without commands and consumers' positions.

    Versions begin at 0. A stream is ``category-id``: `Event.stream_id` is all of it.

    Args:
        schema: Where its table is.
    """
    messages = described(
        *(schema, "messages"),
        global_position="bigint",
        position="bigint",
        time="timestamp",
        stream_name="text",
        type="text",
        data="jsonb?",
        metadata="jsonb?",
    )
    columns = messages.c
    return EventSource(
        select(messages).where(~columns.stream_name.regexp_match(_NO_EVENTS)),
        position=columns.global_position,
        stream_id=columns.stream_name,
        version=columns.position,
        type=columns.type,
        data=columns.data,
        metadata=columns.metadata,
        recorded_at=columns.time,
        first=1,
        name="Message DB",
    )
