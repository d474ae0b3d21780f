"""Marten (.NET)."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from refold.source.port.event_source import EventSource
from refold.source.settled.locks import Locks
from refold.source.settled.marked import Marked
from refold.source.settled.strategy import Settling
from refold.source.stores.columns import described


def marten(
    *,
    schema: str = "public",
    text_streams: bool = False,
    enabled_metadata: Sequence[str] = (),
    rich_append: bool = False,
) -> EventSource:
    """Marten 7 to 9: its table ``mt_events``, without archived events.

    A type is Marten's alias, such as ``order_placed``; the fields of data are as its serializer
    writes them, often in PascalCase. Metadata has tenant_id, and what is enabled.

    With a sequence for each tenant (`UseTenantPartitionedEvents`), positions are not unique: such
    a store cannot be followed in place, and `refold events check` says so.

    Args:
        schema: Where its tables are.
        text_streams: Whether streams are named by texts (`StreamIdentity.AsString`).
        enabled_metadata: Those of correlation_id, causation_id, headers and user_name that the
            store has: columns that are not enabled are not there.
        rich_append: Whether events are appended in the mode `Rich`, the default up to Marten 8.
            Positions are then drawn in a transaction of their own, and only the high-water mark of
            Marten's daemon tells what is settled: the daemon must run.
    """
    events = described(
        *(schema, "mt_events"),
        seq_id="bigint",
        stream_id="text" if text_streams else "uuid",
        version="bigint",
        data="jsonb",
        type="text",
        timestamp="timestamptz",
        tenant_id="text?",
        is_archived="boolean?",
        **{name: "jsonb?" if name == "headers" else "text?" for name in enabled_metadata},
    )
    columns = events.c
    progress = described(schema, "mt_event_progression", name="text", last_seq_id="bigint")
    mark = select(progress.c.last_seq_id).where(progress.c.name == "HighWaterMark")
    drawn_early: Settling = Locks(sequences=[f'"{schema}".mt_events_sequence'])
    metadata = {name: columns[name] for name in ("tenant_id", *enabled_metadata)}
    if "headers" in metadata:
        metadata["*"] = metadata.pop("headers")
    return EventSource(
        select(events).where(columns.is_archived.is_not(True)),
        position=columns.seq_id,
        stream_id=columns.stream_id,
        version=columns.version,
        type=columns.type,
        data=columns.data,
        metadata=metadata,
        recorded_at=columns.timestamp,
        tenant=columns.tenant_id,
        settled=Marked(mark) if rich_append else drawn_early,
        first=1,
        name="Marten",
    )
