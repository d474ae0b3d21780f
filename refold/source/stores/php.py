"""Event stores of PHP: prooph (also Ecotone), and Spatie's for Laravel."""

from __future__ import annotations

from sqlalchemy import BigInteger, Text, cast, func

from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described


def prooph(table: str, *, schema: str = "public") -> EventSource:
    """prooph/pdo-event-store 1 and Ecotone: the table of one stream.

    Each stream has a table of its own, ``_<sha1 of its name>``; ``event_streams`` says which. The
    events of several tables have no common order: a source is one of them.

    Args:
        table: The stream's table.
        schema: Where it is.
    """
    events = described(
        *(schema, table),
        no="bigint",
        event_name="text",
        payload="json",
        metadata="jsonb",
        created_at="timestamp",
    )
    columns = events.c
    return EventSource(
        events,
        position=columns.no,
        stream_id=func.coalesce(columns.metadata["_aggregate_id"].astext, "", type_=Text),
        version=cast(columns.metadata["_aggregate_version"].astext, BigInteger),
        type=columns.event_name,
        data=columns.payload,
        metadata=columns.metadata,
        recorded_at=columns.created_at,
        first=1,
        name=f"prooph {table}",
    )


def spatie(
    *, schema: str = "public", table: str = "stored_events", type_prefix: str = ""
) -> EventSource:
    r"""Spatie's laravel-event-sourcing 7. An event without an aggregate has the stream "".

    Args:
        schema: Where its table is.
        table: Its name.
        type_prefix: What all classes begin with that handlers do not write: ``App\Events\``.
    """
    events = described(
        *(schema, table),
        id="bigint",
        aggregate_uuid="uuid?",
        aggregate_version="bigint?",
        event_class="text",
        event_properties="jsonb",
        meta_data="jsonb",
        created_at="timestamp",
    )
    columns = events.c
    return EventSource(
        events,
        position=columns.id,
        stream_id=columns.aggregate_uuid,
        version=columns.aggregate_version,
        type=columns.event_class,
        type_prefix=type_prefix,
        data=columns.event_properties,
        metadata=columns.meta_data,
        recorded_at=columns.created_at,
        first=1,
        name="Spatie",
    )
