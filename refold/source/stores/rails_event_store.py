"""Rails Event Store (Ruby)."""

from __future__ import annotations

from sqlalchemy import func, select, true

from refold.source.port.bodies import Decode
from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described


def rails_event_store(
    *, schema: str = "public", data_type: str = "jsonb", decode: Decode | None = None
) -> EventSource:
    """Rails Event Store 2 and 3: its table ``event_store_events``.

    An event may be linked to several streams. Its stream here is the first one in which it has a
    position, with that position as its version (from 0); else "", and 0.

    Args:
        schema: Where its tables are.
        data_type: As it is configured: binary (bytea), json or jsonb.
        decode: For data that is not JSON, such as YAML, or JSON in a JSON string: makes a dict of
            it, and SQL then cannot see into it.
    """
    kind = "bytea" if data_type == "binary" else data_type
    events = described(
        *(schema, "event_store_events"),
        id="bigint",
        event_id="uuid",
        event_type="text",
        metadata=f"{kind}?",
        data=kind,
        created_at="timestamp",
        valid_at="timestamp?",
    )
    links = described(
        *(schema, "event_store_events_in_streams"),
        id="bigint",
        stream="text",
        position="bigint?",
        event_id="uuid",
    )
    columns = events.c
    first = (
        select(links.c.stream, links.c.position)
        .where(links.c.event_id == columns.event_id, links.c.position.is_not(None))
        .order_by(links.c.id)
        .limit(1)
        .lateral("of_stream")
    )
    return EventSource(
        select(events).select_from(events.outerjoin(first, true())),
        position=columns.id,
        stream_id=func.coalesce(first.c.stream, ""),
        version=func.coalesce(first.c.position, 0),
        type=columns.event_type,
        data=columns.data,
        metadata=columns.metadata,
        recorded_at=func.coalesce(columns.valid_at, columns.created_at),
        decode=decode,
        first=1,
        name="Rails Event Store",
    )
