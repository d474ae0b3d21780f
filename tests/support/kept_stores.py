"""The tables of known event stores as logs that are kept, each written to as the store does."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from refold import Event, Patience, stores
from refold.source.port.event_source import EventSource
from refold.source.settled.locks import written
from tests.support import store_shapes
from tests.support.mapped import Shape, ddl_of
from tests.support.settling import Kept

_NOW = datetime(2026, 3, 1, tzinfo=UTC)


def new_event() -> Event:
    """An event of a stream of its own; its position is still to be drawn."""
    return Event(0, str(uuid.uuid4()), 1, "T", {"key": "a", "n": 1}, {}, _NOW)


def _kept(
    shape: Shape, *, first: str | None = None, source: EventSource | None = None, **more: Any
) -> Kept:
    made = source or shape.source()

    async def writes(connection: Any) -> int:
        if first is not None:
            await connection.execute(first)
        await shape.insert(connection, [new_event()])
        position: int = await connection.fetchval(f"{shape.drawn} ORDER BY 1 DESC LIMIT 1")
        return position

    table = written(made.tables[0])
    return Kept(more.pop("name", shape.name), ddl_of(shape), made, writes, table, **more)


def _early(shape: Shape, sequence: str, uses: str) -> Kept:
    return _kept(shape, draws=f"SELECT nextval('{sequence}')", uses=uses)


STORES = [
    _early(
        store_shapes.MARTEN,
        "marten.mt_events_sequence",
        """
        WITH s AS (INSERT INTO marten.mt_streams (id) VALUES (gen_random_uuid()) RETURNING id)
        INSERT INTO marten.mt_events (seq_id, id, stream_id, version, data, type)
        SELECT $1::bigint, gen_random_uuid(), id, 1, '{}', 'T' FROM s
        """,
    ),
    _kept(
        store_shapes.AXON_5,
        draws="SELECT nextval('axon.\"aggregate-event-global-index-sequence\"') + 10",
        uses="INSERT INTO axon.aggregate_event_entry VALUES ($1, 'Order', gen_random_uuid()::text, "
        "0, 'com.acme.T', '1', now()::text, '{}', '{}', gen_random_uuid()::text)",
    ),
    _early(
        store_shapes.MESSAGE_DB,
        "message_store.messages_global_position_seq",
        "INSERT INTO message_store.messages (global_position, position, stream_name, type) "
        "VALUES ($1, 0, 'order-' || gen_random_uuid(), 'T')",
    ),
    _early(
        store_shapes.EMMETT,
        "emt_global_message_position",
        "INSERT INTO emt_messages (global_position, stream_position, stream_id, message_type, "
        "message_data, message_metadata) VALUES ($1, 1, gen_random_uuid(), 'T', '{}', '{}')",
    ),
    # With its functions in the database it takes no lock of the table.
    _early(
        store_shapes.EVENTSOURCING,
        "shop_events_notification_id_seq",
        "INSERT INTO shop_events VALUES (gen_random_uuid(), 1, 'shop:Order.T', "
        """'{"timestamp": {"_type_": "datetime_iso", "_data_": "2026-03-01T00:00:00Z"}}', $1)""",
    ),
    _early(
        store_shapes.RAILS,
        "res.event_store_events_id_seq",
        """
        WITH e AS (
            INSERT INTO res.event_store_events (id, event_id, event_type, data, created_at)
            VALUES ($1, gen_random_uuid(), 'T', '{}', now()) RETURNING event_id)
        INSERT INTO res.event_store_events_in_streams (stream, position, event_id, created_at)
        SELECT gen_random_uuid(), 0, event_id, now() FROM e
        """,
    ),
    _early(
        store_shapes.AKKA,
        "akka.jdbc_event_journal_ordering_seq",
        "INSERT INTO akka.jdbc_event_journal (ordering, persistence_id, sequence_number, writer, "
        "write_timestamp, event_ser_id, event_ser_manifest, event_payload) "
        "VALUES ($1, gen_random_uuid(), 1, 'w', 0, 33, 'shop.T', '{}')",
    ),
    _early(
        store_shapes.SPATIE,
        "spatie.stored_events_id_seq",
        "INSERT INTO spatie.stored_events (id, aggregate_uuid, aggregate_version, event_class, "
        "event_properties, meta_data, created_at) "
        "VALUES ($1, gen_random_uuid(), 1, 'App\\Events\\T', '{}', '{}', now())",
    ),
    _early(
        store_shapes.PROOPH,
        "prooph._4b3f9b2f0c1d_no_seq",
        "INSERT INTO prooph._4b3f9b2f0c1d (no, event_id, event_name, payload, metadata, "
        "created_at) VALUES ($1, gen_random_uuid(), 'T', '{}', json_build_object("
        "'_aggregate_id', gen_random_uuid(), '_aggregate_version', 1), now())",
    ),
    _early(
        store_shapes.PLAIN,
        "app_events_id_seq",
        "INSERT INTO app_events OVERRIDING SYSTEM VALUE "
        "VALUES ($1, 'T', '{}', gen_random_uuid(), now())",
    ),
]
"""Those whose writers write at the same time, and hold locks.

Each can draw a position with a statement of its own, before the event is inserted.
"""

ONE_AFTER_ANOTHER = [
    _kept(store_shapes.COMMANDED),
    _kept(
        store_shapes.EVENTSOURCING,
        first="LOCK TABLE shop_events IN EXCLUSIVE MODE",
        name="eventsourcing-locked",
    ),
]
"""Those whose writers wait for one another."""

MARTEN_RICH = _kept(
    store_shapes.MARTEN,
    source=stores.marten(schema="marten", rich_append=True),
    name="marten-rich",
    mark="UPDATE marten.mt_event_progression SET last_seq_id = $1",
)
"""With a mark that its daemon keeps."""

AXON_POOLED = _kept(
    store_shapes.AXON_4,
    source=stores.axon("4-jpa", schema="axon", type_prefix="com.acme.", settled=Patience(0.3)),
    name="axon-pooled",
    # The rows that are given are at 1 and 51, and the sequence has not heard of them.
    draws="SELECT nextval('axon.domain_event_entry_seq') + 100",
    uses="INSERT INTO axon.domain_event_entry VALUES ($1, gen_random_uuid()::text, '{}', '{}', "
    "NULL, 'com.acme.T', now()::text, gen_random_uuid()::text, 0, 'Order')",
)
"""With pools of positions, which no lock tells of."""
