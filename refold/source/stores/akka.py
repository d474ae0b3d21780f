"""Akka and Pekko Persistence JDBC (Scala, Java)."""

from __future__ import annotations

from sqlalchemy import func, select

from refold.source.port.bodies import Decode
from refold.source.port.event_source import EventSource
from refold.source.stores.columns import described


def akka_jdbc(
    *,
    schema: str = "public",
    journal: str = "event_journal",
    type_prefix: str = "",
    decode: Decode | None = None,
) -> EventSource:
    """Akka and Pekko Persistence JDBC 5: the journal, without deleted events.

    A type is the serializer's manifest.

    Args:
        schema: Where the journal is.
        journal: Its name.
        type_prefix: What all manifests begin with that handlers do not write.
        decode: For payloads that are not JSON (CBOR, protobuf): makes a dict of the bytes.
    """
    table = described(
        *(schema, journal),
        ordering="bigint",
        persistence_id="text",
        sequence_number="bigint",
        deleted="boolean",
        write_timestamp="bigint",
        event_ser_manifest="text",
        event_payload="bytea",
    )
    columns = table.c
    return EventSource(
        select(table).where(~columns.deleted),
        position=columns.ordering,
        stream_id=columns.persistence_id,
        version=columns.sequence_number,
        type=columns.event_ser_manifest,
        type_prefix=type_prefix,
        data=columns.event_payload,
        decode=decode,
        recorded_at=func.to_timestamp(columns.write_timestamp / 1000.0),
        first=1,
        name="Akka Persistence JDBC",
    )
