"""The events of `refold.events` once more, in the tables of each event store that has a preset.

Each table is a SELECT FROM EVENTS: it is made of Refold's own, and later events are added, as an
application would append them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

from refold import EventSource, Patience, stores

_BYTES = "convert_to(e.{0}::text, 'UTF8')"
_UTC = "e.recorded_at AT TIME ZONE 'UTC'"
_AGGREGATE = (
    "e.metadata || jsonb_build_object('_aggregate_id', "
    "e.stream_id, '_aggregate_version', e.version)"
)
# The library wraps times so.
_STATE = (
    "convert_to((e.data || jsonb_build_object('timestamp', jsonb_build_object("
    "'_type_', 'datetime_iso', '_data_', e.recorded_at)))::text, 'UTF8')"
)


@dataclass(frozen=True)
class StoreTables:
    """The tables of one event store.

    Attributes:
        name: The preset, and how it is used.
        aim: How long a rebuild may take at most, relative to Refold's own table.
        source: What makes the `EventSource`.
        tables: The tables by name, each with its SELECT; the first one has the positions.
        indexes: What the store has of indexes.
        first: What makes the schema, or what all events share.
        has_metadata: Whether the store keeps metadata.
        uuids: Whether streams are named by uuids: of a name, its MD5.
    """

    name: str
    aim: float
    source: Callable[[], EventSource]
    tables: dict[str, str]
    indexes: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    has_metadata: bool = True
    uuids: bool = False
    compressed: tuple[str, ...] = field(default=())


def _axon(table: str, columns: str) -> dict[str, str]:
    position, stream, version, kind, data, metadata, time, aggregate = columns.split()
    return {
        table: f"SELECT e.position AS {position}, e.stream_id AS {stream}, e.version::bigint - 1 "
        f"AS {version}, 'com.acme.' || e.type AS {kind}, {_BYTES.format('data')} AS {data}, "
        f"{_BYTES.format('metadata')} AS {metadata}, to_json(e.recorded_at) #>> '{{}}' AS {time}, "
        f"'Order' AS {aggregate}"
    }


_EVENTSOURCING = (
    "SELECT e.position AS notification_id, e.stream_id AS originator_id, e.version::bigint AS "
    f"originator_version, 'shop:Order.' || e.type AS topic, {_STATE} AS state"
)
_EMMETT = (
    "SELECT e.position AS global_position, e.stream_id, e.version::bigint AS stream_position, "
    "e.type AS message_type, e.data AS message_data, e.metadata AS message_metadata, "
    "'E' AS message_kind, false AS is_archived, e.recorded_at AS created"
)
_LINKS = (
    "SELECT md5(e.position::text)::uuid AS event_id, l.stream_id, CASE l.stream_id WHEN 0 THEN "
    "e.position ELSE e.version END AS stream_version, s.stream_id AS original_stream_id, "
    "e.version::bigint AS original_stream_version"
)
_IN_ALL = (
    "JOIN commanded.streams s ON s.stream_uuid = e.stream_id, "
    "LATERAL (VALUES (0::bigint), (s.stream_id)) AS l (stream_id)"
)

STORES = [
    StoreTables(
        "message_db()",
        1.5,
        stores.message_db,
        {
            "message_store.messages": "SELECT e.position AS global_position, e.version::bigint - 1 "
            f"AS position, {_UTC} AS time, e.stream_id AS stream_name, e.type, e.data, e.metadata"
        },
        ("UNIQUE (global_position)", "UNIQUE (stream_name, position)"),
    ),
    StoreTables(
        "marten()",
        1.5,
        lambda: stores.marten(schema="marten", text_streams=True, enabled_metadata=["headers"]),
        {
            "marten.mt_events": "SELECT e.position AS seq_id, e.stream_id, e.version::bigint AS "
            "version, e.data, e.type, e.recorded_at AS timestamp, '*DEFAULT*' AS tenant_id, "
            "false AS is_archived, e.metadata AS headers"
        },
        ("UNIQUE (seq_id)", "UNIQUE (stream_id, version)"),
        ("CREATE SEQUENCE marten.mt_events_sequence",),
    ),
    StoreTables(
        "emmett()",
        1.5,
        lambda: stores.emmett(schema="emmett"),
        {"emmett.emt_messages": _EMMETT},
        ("UNIQUE (global_position)", "UNIQUE (stream_id, stream_position)"),
    ),
    StoreTables(
        "eventsourcing()",
        2.5,
        lambda: stores.eventsourcing(
            "shop", schema="library", text_streams=True, type_prefix="shop:Order."
        ),
        {"library.shop_events": _EVENTSOURCING},
        ("UNIQUE (notification_id)", "UNIQUE (originator_id, originator_version)"),
        has_metadata=False,
    ),
    StoreTables(
        "eventsourcing(decompress=…)",
        2.5,
        lambda: stores.eventsourcing(
            "shop",
            schema="packed",
            text_streams=True,
            type_prefix="shop:Order.",
            decompress=zlib.decompress,
        ),
        {"packed.shop_events": _EVENTSOURCING},
        ("UNIQUE (notification_id)", "UNIQUE (originator_id, originator_version)"),
        has_metadata=False,
        compressed=("packed.shop_events", "notification_id", "state"),
    ),
    StoreTables(
        "commanded()",
        2.5,
        lambda: stores.commanded(schema="commanded", type_prefix="Elixir.Shop."),
        {
            "commanded.stream_events": f"{_LINKS} FROM EVENTS {_IN_ALL}",
            "commanded.events": "SELECT md5(e.position::text)::uuid AS event_id, 'Elixir.Shop.' || "
            "e.type AS event_type, NULL::uuid AS causation_id, NULL::uuid AS correlation_id, "
            f"{_BYTES.format('data')} AS data, {_BYTES.format('metadata')} AS metadata, "
            "e.recorded_at AS created_at",
        },
        ("UNIQUE (event_id, stream_id)", "UNIQUE (stream_id, stream_version)"),
        (
            "CREATE TABLE commanded.streams AS SELECT row_number() OVER () AS stream_id, stream_id "
            "AS stream_uuid FROM (SELECT stream_id FROM refold.events UNION SELECT stream_id FROM "
            "later) s",
            "ALTER TABLE commanded.streams ADD PRIMARY KEY (stream_id)",
        ),
    ),
    StoreTables(
        "rails_event_store()",
        2.5,
        lambda: stores.rails_event_store(schema="rails"),
        {
            "rails.event_store_events": "SELECT e.position AS id, md5(e.position::text)::uuid AS "
            f"event_id, e.type AS event_type, e.metadata, e.data, {_UTC} AS created_at, "
            "NULL::timestamp AS valid_at",
            "rails.event_store_events_in_streams": "SELECT e.position AS id, e.stream_id AS stream,"
            " e.version::bigint - 1 AS position, md5(e.position::text)::uuid AS event_id",
        },
        ("UNIQUE (id)",),
    ),
    StoreTables(
        "axon('4-jpa'), Patience",
        2.5,
        lambda: stores.axon(
            "4-jpa", schema="axon4", type_prefix="com.acme.", settled=Patience(0.5)
        ),
        _axon(
            "axon4.domain_event_entry",
            "global_index aggregate_identifier sequence_number payload_type payload meta_data "
            "time_stamp type",
        ),
        ("UNIQUE (global_index)", "UNIQUE (aggregate_identifier, sequence_number)"),
    ),
    StoreTables(
        "axon('5-jpa')",
        2.5,
        lambda: stores.axon("5-jpa", schema="axon5", type_prefix="com.acme."),
        _axon(
            "axon5.aggregate_event_entry",
            "global_index aggregate_identifier aggregate_sequence_number type payload metadata "
            "timestamp aggregate_type",
        ),
        ("UNIQUE (global_index)", "UNIQUE (aggregate_identifier, aggregate_sequence_number)"),
        ('CREATE SEQUENCE axon5."aggregate-event-global-index-sequence"',),
    ),
    StoreTables(
        "akka_jdbc()",
        2.5,
        lambda: stores.akka_jdbc(schema="akka", type_prefix="shop."),
        {
            "akka.event_journal": "SELECT e.position AS ordering, e.stream_id AS persistence_id, "
            "e.version::bigint AS sequence_number, false AS deleted, (extract(epoch FROM "
            "e.recorded_at) * 1000)::bigint AS write_timestamp, 'shop.' || e.type AS "
            f"event_ser_manifest, {_BYTES.format('data')} AS event_payload"
        },
        ("UNIQUE (ordering)", "UNIQUE (persistence_id, sequence_number)"),
        has_metadata=False,
    ),
    StoreTables(
        "spatie()",
        1.5,
        lambda: stores.spatie(schema="spatie", type_prefix="App\\Events\\"),
        {
            "spatie.stored_events": "SELECT e.position AS id, md5(e.stream_id)::uuid AS "
            "aggregate_uuid, e.version::bigint AS aggregate_version, 'App\\Events\\' || e.type AS "
            f"event_class, e.data AS event_properties, e.metadata AS meta_data, {_UTC} AS "
            "created_at"
        },
        ("UNIQUE (id)", "UNIQUE (aggregate_uuid, aggregate_version)"),
        uuids=True,
    ),
    StoreTables(
        "prooph()",
        2.5,
        lambda: stores.prooph("_4b3f", schema="prooph"),
        {
            "prooph._4b3f": "SELECT e.position AS no, e.type AS event_name, e.data::json AS "
            f"payload, {_AGGREGATE} AS metadata, {_UTC} AS created_at"
        },
        ("UNIQUE (no)", "UNIQUE ((metadata ->> '_aggregate_id'), no)"),
    ),
    StoreTables(
        "table() of jsonb",
        1.5,
        lambda: stores.table("plain", schema="app", stream_id="stream", metadata="about"),
        {
            "app.plain": "SELECT e.position AS id, e.stream_id AS stream, e.type, e.data AS "
            "payload, e.metadata AS about, e.recorded_at AS created_at"
        },
        ("UNIQUE (id)",),
    ),
    StoreTables(
        "table() of text",
        2.5,
        lambda: stores.table(
            "texts",
            schema="app2",
            stream_id="stream",
            data=("payload", "text"),
            metadata=("about", "text"),
        ),
        {
            "app2.texts": "SELECT e.position AS id, e.stream_id AS stream, e.type, e.data::text AS "
            "payload, e.metadata::text AS about, e.recorded_at AS created_at"
        },
        ("UNIQUE (id)",),
    ),
]
