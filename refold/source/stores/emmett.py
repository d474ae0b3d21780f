"""Emmett (Node.js)."""

from __future__ import annotations

from sqlalchemy import select

from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described


def emmett(*, schema: str = "public") -> EventSource:
    """Emmett 0.42: its table ``emt_messages``, without commands and archived messages.

    It has no index on the position; `refold events check` has the statement that makes one.

    Args:
        schema: Where its tables are.
    """
    messages = described(
        *(schema, "emt_messages"),
        global_position="bigint?",
        stream_id="text",
        stream_position="bigint",
        message_type="text",
        message_data="jsonb",
        message_metadata="jsonb",
        message_kind="text",
        is_archived="boolean",
        created="timestamptz",
    )
    columns = messages.c
    return EventSource(
        select(messages).where(columns.message_kind == "E", ~columns.is_archived),
        position=columns.global_position,
        stream_id=columns.stream_id,
        version=columns.stream_position,
        type=columns.message_type,
        data=columns.message_data,
        metadata=columns.message_metadata,
        recorded_at=columns.created,
        first=1,
        name="Emmett",
    )
