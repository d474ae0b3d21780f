"""Commanded and its EventStore (Elixir)."""

from __future__ import annotations

from sqlalchemy import select

from refold.source.port.event_source import EventSource
from refold.source.settled.in_order import InOrder
from refold.source.stores.columns import described


def commanded(
    *, schema: str = "public", column_data_type: str = "bytea", type_prefix: str = ""
) -> EventSource:
    """EventStore 1.4 for Elixir: the stream ``$all``, in whose order all transactions commit.

    Args:
        schema: Where its tables are.
        column_data_type: As the store is configured: bytea, json or jsonb. Its serializer must
            write JSON.
        type_prefix: What all types begin with that handlers do not write: ``Elixir.Shop.``.
    """
    links = described(
        *(schema, "stream_events"),
        event_id="uuid",
        stream_id="bigint",
        stream_version="bigint",
        original_stream_id="bigint?",
        original_stream_version="bigint?",
    )
    events = described(
        *(schema, "events"),
        event_id="uuid",
        event_type="text",
        causation_id="uuid?",
        correlation_id="uuid?",
        data=column_data_type,
        metadata=f"{column_data_type}?",
        created_at="timestamptz",
    )
    streams = described(schema, "streams", stream_id="bigint", stream_uuid="text")
    joined = links.join(events, events.c.event_id == links.c.event_id).join(
        streams, streams.c.stream_id == links.c.original_stream_id
    )
    single = {name: events.c[name] for name in ("causation_id", "correlation_id")}
    return EventSource(
        select(links).select_from(joined).where(links.c.stream_id == 0),
        position=links.c.stream_version,
        stream_id=streams.c.stream_uuid,
        version=links.c.original_stream_version,
        type=events.c.event_type,
        type_prefix=type_prefix,
        data=events.c.data,
        metadata={"*": events.c.metadata, **single},
        recorded_at=events.c.created_at,
        settled=InOrder(),
        wakes_on=f"{schema}.events",
        first=1,
        name="Commanded",
    )
