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


_MARTEN_DRAWS = "SELECT nextval('marten.mt_events_sequence')"
_MARTEN_USES = """
    WITH s AS (INSERT INTO marten.mt_streams (id) VALUES ('00000000-0000-0000-0000-0000000000ff'))
    INSERT INTO marten.mt_events (seq_id, id, stream_id, version, data, type)
    VALUES ($1, gen_random_uuid(), '00000000-0000-0000-0000-0000000000ff', 1, '{}', 'T')
"""
_AXON_DRAWS = "SELECT nextval('axon.\"aggregate-event-global-index-sequence\"') + 10"
_AXON_USES = """
    INSERT INTO axon.aggregate_event_entry VALUES
        ($1, 'Order', 'early', 0, 'com.acme.T', '1', now()::text, '{}', '{}', 'early')
"""

STORES = [
    _kept(store_shapes.MESSAGE_DB),
    _kept(store_shapes.MARTEN, draws=_MARTEN_DRAWS, uses=_MARTEN_USES),
    _kept(store_shapes.EMMETT),
    # With its functions in the database it takes no lock of the table.
    _kept(store_shapes.EVENTSOURCING),
    _kept(store_shapes.RAILS),
    _kept(store_shapes.AXON_5, draws=_AXON_DRAWS, uses=_AXON_USES),
    _kept(store_shapes.AKKA),
    _kept(store_shapes.SPATIE),
    _kept(store_shapes.PROOPH),
    _kept(store_shapes.PLAIN),
]
"""Those whose writers write at the same time, and hold locks."""

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
    draws="SELECT nextval('axon.domain_event_entry_seq')",
    uses="INSERT INTO axon.domain_event_entry VALUES ($1, gen_random_uuid()::text, '{}', '{}', "
    "NULL, 'com.acme.T', now()::text, gen_random_uuid()::text, 0, 'Order')",
)
"""With pools of positions, which no lock tells of."""
