"""Axon Framework (Java)."""

from __future__ import annotations

from typing import Literal

from refold.source.port.bodies import Decode
from refold.source.port.event_source import EventSource
from refold.source.settled.locks import Locks
from refold.source.settled.patience import Patience
from refold.source.settled.strategy import Settling
from refold.source.stores.columns import described

Engine = Literal["4-jpa", "4-jdbc", "5-jpa"]

# Position, stream, version, type, data, metadata, time; and the aggregate's type.
_TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "4-jpa": (
        "domain_event_entry",
        (
            *("global_index", "aggregate_identifier", "sequence_number", "payload_type"),
            *("payload", "meta_data", "time_stamp", "type"),
        ),
    ),
    "4-jdbc": (
        "domainevententry",
        (
            *("globalindex", "aggregateidentifier", "sequencenumber", "payloadtype"),
            *("payload", "metadata", "timestamp", "type"),
        ),
    ),
    "5-jpa": (
        "aggregate_event_entry",
        (
            *("global_index", "aggregate_identifier", "aggregate_sequence_number", "type"),
            *("payload", "metadata", "timestamp", "aggregate_type"),
        ),
    ),
}
_KINDS = ("bigint", "text?", "bigint?", "text", "bytea", "bytea?", "text", "text?")
_SEQUENCE = '"{}"."aggregate-event-global-index-sequence"'


def axon(
    engine: Engine,
    *,
    schema: str = "public",
    type_prefix: str = "",
    decode: Decode | None = None,
    settled: Settling | None = None,
) -> EventSource:
    """Axon Framework 4 and 5 on PostgreSQL, with payloads in bytea. Versions begin at 0.

    Args:
        engine: ``4-jpa``, ``4-jdbc`` or ``5-jpa``.
        schema: Where its table is.
        type_prefix: What all types begin with that handlers do not write: ``com.acme.``.
        decode: For payloads that are not JSON (XStream, Java): makes a dict of the bytes.
        settled: How the head settles, if not as is usual. For ``4-jpa`` that is by `Patience`:
            Hibernate 6 draws positions 50 at a time, in a transaction of their own. If it is told
            ``allocationSize = 1``, it is ``Locks(sequences=["public.domain_event_entry_seq"])``,
            which waits for no gap.
    """
    name, columns = _TABLES[engine]
    table = described(schema, name, **dict(zip(columns, _KINDS, strict=True)))
    position, stream, version, kind, data, metadata, time, aggregate = (
        table.c[column] for column in columns
    )
    usual: Settling = Locks(sequences=[_SEQUENCE.format(schema)] if engine == "5-jpa" else [])
    if engine == "4-jpa":
        usual = Patience()
    return EventSource(
        table,
        position=position,
        stream_id=stream,
        version=version,
        type=kind,
        type_prefix=type_prefix,
        data=data,
        decode=decode,
        metadata={"*": metadata, "aggregate_type": aggregate},
        recorded_at=time,
        settled=settled or usual,
        # Hibernate's sequences begin at 1: what is below is no gap.
        first=1 if engine == "4-jpa" else 0,
        name="Axon",
    )
