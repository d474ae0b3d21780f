"""The tables of known event stores, as shapes of logs."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from refold import Event, Patience, stores
from refold.source.port.event_source import EventSource
from tests.support.mapped import Shape, json


def _inserting(statement: str, arguments: Callable[[Event], Sequence[Any]]) -> Any:
    async def insert(driver: Any, events: Sequence[Event]) -> None:
        await driver.executemany(statement, [tuple(arguments(event)) for event in events])

    return insert


def _naive(event: Event) -> Any:
    return event.recorded_at.replace(tzinfo=None)


def _keeps(
    event: Event, *, stream: str = "{}", from_0: bool = False, metadata: Any = None
) -> Event:
    made = {} if metadata is None else metadata(event)
    return event._replace(
        stream_id=stream.format(event.stream_id), version=event.version - from_0, metadata=made
    )


def _all(event: Event) -> dict[str, Any]:
    return event.metadata


MESSAGE_DB = Shape(
    "message_db",
    """
    CREATE SCHEMA message_store; CREATE TABLE message_store.messages (
        global_position bigserial PRIMARY KEY, position bigint NOT NULL,
        time timestamp DEFAULT (now() AT TIME ZONE 'utc') NOT NULL, stream_name text NOT NULL,
        type text NOT NULL, data jsonb, metadata jsonb,
        id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE, UNIQUE (stream_name, position));
    INSERT INTO message_store.messages (position, stream_name, type, data) VALUES
        (0, 'order:command-1', 'Added', '{"key": "no event"}'),
        (0, 'order:position-consumer1', 'Added', '{"key": "no event"}'),
        (0, 'order:a+command-1', 'Added', NULL)
    """,
    stores.message_db,
    _inserting(
        "INSERT INTO message_store.messages (position, stream_name, type, data, metadata, time) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        lambda e: (
            *(e.version - 1, f"order-{e.stream_id}", e.type, json(e.data)),
            *(json(e.metadata) if e.version % 2 else None, _naive(e)),
        ),
    ),
    partial(
        _keeps,
        stream="order-{}",
        from_0=True,
        metadata=lambda e: e.metadata if e.version % 2 else {},
    ),
    drawn="SELECT global_position FROM message_store.messages",
)

MARTEN = Shape(
    "marten",
    "marten.sql",
    partial(stores.marten, schema="marten", enabled_metadata=["headers", "correlation_id"]),
    _inserting(
        "WITH s AS (INSERT INTO marten.mt_streams (id) VALUES ($1) ON CONFLICT DO NOTHING) "
        "INSERT INTO marten.mt_events (seq_id, id, stream_id, version, data, type, timestamp, "
        "headers) VALUES (nextval('marten.mt_events_sequence'), gen_random_uuid(), $1, $2, $3, $4, "
        "$5, $6)",
        lambda e: (
            *(uuid.UUID(e.stream_id), e.version, json(e.data), e.type, e.recorded_at),
            json(e.metadata),
        ),
    ),
    partial(_keeps, metadata=lambda e: {**e.metadata, "tenant_id": "*DEFAULT*"}),
    drawn="SELECT seq_id FROM marten.mt_events",
)

EMMETT = Shape(
    "emmett",
    """
    CREATE SEQUENCE emt_global_message_position;
    CREATE TABLE emt_messages (stream_position bigint NOT NULL,
        global_position bigint DEFAULT nextval('emt_global_message_position'),
        created timestamptz NOT NULL DEFAULT now(), is_archived boolean NOT NULL DEFAULT false,
        message_kind varchar(1) NOT NULL DEFAULT 'E', stream_id text NOT NULL,
        partition text NOT NULL DEFAULT 'emt:default', message_type text NOT NULL,
        message_data jsonb NOT NULL, message_metadata jsonb NOT NULL,
        PRIMARY KEY (stream_id, stream_position, partition, is_archived))
        PARTITION BY LIST (partition);
    CREATE TABLE emt_messages_default PARTITION OF emt_messages DEFAULT
        PARTITION BY LIST (is_archived);
    CREATE TABLE emt_messages_active PARTITION OF emt_messages_default FOR VALUES IN (false);
    CREATE TABLE emt_messages_archived PARTITION OF emt_messages_default FOR VALUES IN (true);
    INSERT INTO emt_messages (stream_position, stream_id, message_type, message_data,
        message_metadata, message_kind, is_archived) VALUES
        (1, 'a', 'Added', '{"key": "a"}', '{}', 'C', false),
        (1, 'b', 'Added', '{"key": "a"}', '{}', 'E', true);
    """,
    stores.emmett,
    _inserting(
        "INSERT INTO emt_messages (stream_id, stream_position, message_type, message_data, "
        "message_metadata, created) VALUES ($1, $2, $3, $4, $5, $6)",
        lambda e: (
            *(e.stream_id, e.version, e.type, json(e.data), json(e.metadata)),
            e.recorded_at,
        ),
    ),
    partial(_keeps, metadata=_all),
    drawn="SELECT global_position FROM emt_messages",
)


def _eventsourcing(name: str, packed: Callable[[bytes], bytes], **given: Any) -> Shape:
    def state(event: Event) -> bytes:
        time = {"_type_": "datetime_iso", "_data_": event.recorded_at.isoformat()}
        return packed(json({**event.data, "timestamp": time, "more": [time]}).encode())

    def keeps(event: Event) -> Event:
        time: Any = event.recorded_at.isoformat()
        if not given:
            time = {"_type_": "datetime_iso", "_data_": time}
        data = {**event.data, "timestamp": time, "more": [time]}
        return event._replace(data=data, metadata={})

    return Shape(
        name,
        "CREATE TABLE shop_events (originator_id uuid NOT NULL, originator_version bigint NOT NULL,"
        " topic text, state bytea, notification_id bigserial UNIQUE, PRIMARY KEY (originator_id,"
        " originator_version))",
        partial(stores.eventsourcing, "shop", type_prefix="shop:Order.", **given),
        _inserting(
            "INSERT INTO shop_events VALUES ($1, $2, $3, $4)",
            lambda e: (uuid.UUID(e.stream_id), e.version, f"shop:Order.{e.type}", state(e)),
        ),
        keeps,
        drawn="SELECT notification_id FROM shop_events",
        sees_data=not given,
    )


EVENTSOURCING = _eventsourcing("eventsourcing", lambda state: state)
COMPRESSED = _eventsourcing("eventsourcing-zlib", zlib.compress, decompress=zlib.decompress)


async def _into_commanded(driver: Any, events: Sequence[Event]) -> None:
    last = await driver.fetchval(
        "UPDATE commanded.streams SET stream_version = stream_version + $1 WHERE stream_id = 0 "
        "RETURNING stream_version",
        len(events),
    )
    streams = await driver.fetch(
        "INSERT INTO commanded.streams (stream_uuid) SELECT DISTINCT unnest($1::text[]) "
        "ON CONFLICT (stream_uuid) DO UPDATE SET stream_version = 0 "
        "RETURNING stream_uuid, stream_id",
        [event.stream_id for event in events],
    )
    ids = {record["stream_uuid"]: record["stream_id"] for record in streams}
    rows = [(uuid.uuid4(), ids[event.stream_id], event) for event in events]
    await driver.executemany(
        "INSERT INTO commanded.events VALUES ($1, $2, NULL, NULL, $3, $4, $5)",
        [
            (
                *(name, f"Elixir.Shop.{event.type}", json(event.data).encode()),
                *(json(event.metadata).encode(), event.recorded_at),
            )
            for name, _, event in rows
        ],
    )
    in_all = enumerate(rows, start=last - len(events) + 1)
    await driver.executemany(
        "INSERT INTO commanded.stream_events VALUES ($1, $2, $3, $4, $5)",
        [
            place
            for number, (name, stream, event) in in_all
            for place in (
                (name, stream, event.version, stream, event.version),
                (name, 0, number, stream, event.version),
            )
        ],
    )


COMMANDED = Shape(
    "commanded",
    "commanded.sql",
    partial(stores.commanded, schema="commanded", type_prefix="Elixir.Shop."),
    _into_commanded,
    partial(_keeps, metadata=_all),
    drawn="SELECT stream_version FROM commanded.stream_events WHERE stream_id = 0",
)


async def _into_rails(driver: Any, events: Sequence[Event]) -> None:
    rows = [(uuid.uuid4(), event) for event in events]
    await driver.executemany(
        "INSERT INTO res.event_store_events (event_id, event_type, metadata, data, created_at) "
        "VALUES ($1, $2, $3, $4, $5)",
        [(name, e.type, json(e.metadata), json(e.data), _naive(e)) for name, e in rows],
    )
    await driver.executemany(
        "INSERT INTO res.event_store_events_in_streams (stream, position, event_id, created_at)"
        " VALUES ($1, $2, $3, $4)",
        [
            place
            for name, event in rows
            for place in (
                (f"$by_type_{event.type}", None, name, _naive(event)),
                (event.stream_id, event.version - 1, name, _naive(event)),
            )
        ],
    )


RAILS = Shape(
    "rails_event_store",
    "rails_event_store.sql",
    partial(stores.rails_event_store, schema="res"),
    _into_rails,
    partial(_keeps, from_0=True, metadata=_all),
    drawn="SELECT id FROM res.event_store_events",
)

_AXON_5 = """
    INSERT INTO axon.aggregate_event_entry VALUES
        (nextval('axon."aggregate-event-global-index-sequence"') + 10, 'Order', $1, $2, $3, '1',
         $4, $5, $6, gen_random_uuid()::text)
"""


def _axon(name: str, source: Callable[[], EventSource], statement: str, drawn: str) -> Shape:
    return Shape(
        name,
        "axon.sql",
        source,
        _inserting(
            statement,
            lambda e: (
                *(e.stream_id, e.version - 1, f"com.acme.{e.type}"),
                *(e.recorded_at.isoformat(), json(e.data).encode(), json(e.metadata).encode()),
            ),
        ),
        partial(_keeps, from_0=True, metadata=lambda e: {**e.metadata, "aggregate_type": "Order"}),
        drawn=drawn,
    )


_given = {"schema": "axon", "type_prefix": "com.acme."}
AXON_5 = _axon(
    "axon-5",
    partial(stores.axon, "5-jpa", **_given),  # type: ignore[arg-type]
    _AXON_5,
    "SELECT global_index FROM axon.aggregate_event_entry",
)
AXON_4 = _axon(
    "axon-4",
    partial(stores.axon, "4-jpa", settled=Patience(0.2), **_given),  # type: ignore[arg-type]
    "INSERT INTO axon.domain_event_entry SELECT coalesce(max(global_index), 0) + 50, "
    "gen_random_uuid()::text, $6, $5, NULL, $3, $4, $1, $2, 'Order' FROM axon.domain_event_entry",
    "SELECT global_index FROM axon.domain_event_entry",
)

AKKA = Shape(
    "akka_jdbc",
    "akka.sql",
    partial(stores.akka_jdbc, schema="akka", journal="jdbc_event_journal", type_prefix="shop."),
    _inserting(
        "INSERT INTO akka.jdbc_event_journal (persistence_id, sequence_number, writer, "
        "write_timestamp, event_ser_id, event_ser_manifest, event_payload) "
        "VALUES ($1, $2, 'w', $3, 33, $4, $5)",
        lambda e: (
            *(e.stream_id, e.version, int(e.recorded_at.timestamp() * 1000)),
            *(f"shop.{e.type}", json(e.data).encode()),
        ),
    ),
    _keeps,
    drawn="SELECT ordering FROM akka.jdbc_event_journal",
)

SPATIE = Shape(
    "spatie",
    "php.sql",
    partial(stores.spatie, schema="spatie", type_prefix="App\\Events\\"),
    _inserting(
        "INSERT INTO spatie.stored_events (aggregate_uuid, aggregate_version, event_class, "
        "event_properties, meta_data, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        lambda e: (
            *(uuid.UUID(e.stream_id), e.version, f"App\\Events\\{e.type}"),
            *(json(e.data), json(e.metadata), _naive(e)),
        ),
    ),
    partial(_keeps, metadata=_all),
    drawn="SELECT id FROM spatie.stored_events",
)


def _aggregate(event: Event) -> dict[str, Any]:
    return {"_aggregate_id": event.stream_id, "_aggregate_version": event.version}


PROOPH = Shape(
    "prooph",
    "php.sql",
    partial(stores.prooph, "_4b3f9b2f0c1d", schema="prooph"),
    _inserting(
        "INSERT INTO prooph._4b3f9b2f0c1d (event_id, event_name, payload, metadata, created_at) "
        "VALUES (gen_random_uuid(), $1, $2, $3, $4)",
        lambda e: (e.type, json(e.data), json(_aggregate(e)), _naive(e)),
    ),
    partial(_keeps, metadata=_aggregate),
    drawn="SELECT no FROM prooph._4b3f9b2f0c1d",
)

PLAIN = Shape(
    "table",
    "CREATE TABLE app_events (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text NOT "
    "NULL, payload text NOT NULL, account uuid NOT NULL, created_at timestamptz NOT NULL)",
    partial(stores.table, "app_events", stream_id=("account", "uuid"), data=("payload", "text")),
    _inserting(
        "INSERT INTO app_events (type, payload, account, created_at) VALUES ($1, $2, $3, $4)",
        lambda e: (e.type, json(e.data), uuid.UUID(e.stream_id), e.recorded_at),
    ),
    lambda event: _keeps(event)._replace(version=0),
    drawn="SELECT id FROM app_events",
)

SHAPES = [
    *(MESSAGE_DB, MARTEN, EMMETT, EVENTSOURCING, COMPRESSED, COMMANDED, RAILS, AXON_4, AXON_5),
    *(AKKA, SPATIE, PROOPH, PLAIN),
]
