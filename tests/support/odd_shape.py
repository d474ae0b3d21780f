"""A table of events that differs from Refold's own in all that may differ."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    Uuid,
    select,
)

from refold import Event
from refold.source.port.event_source import EventSource
from tests.support.mapped import Shape, json

DDL = """
    CREATE SCHEMA odd;
    CREATE TABLE odd."Log" (
        n bigint PRIMARY KEY, "Stream" uuid NOT NULL, no int NOT NULL, kind varchar(99) NOT NULL,
        body text, about bytea, org bigint, at timestamp NOT NULL, hidden boolean NOT NULL
    );
    INSERT INTO odd."Log" VALUES
        (1, gen_random_uuid(), 1, 'Other.Added', 'no JSON', NULL, 0, now(), false),
        (2, gen_random_uuid(), 1, 'Shop.Added', 'no JSON, hidden', NULL, 0, now(), true);
"""


def source(**changes: Any) -> EventSource:
    """Its mapping."""
    log = Table(
        "Log",
        MetaData(),
        Column("n", BigInteger, primary_key=True),
        Column("Stream", Uuid, nullable=False),
        Column("no", BigInteger),
        Column("kind", String(99)),
        Column("body", Text),
        Column("about", LargeBinary),
        Column("org", BigInteger),
        Column("at", DateTime),
        Column("hidden", Boolean),
        schema="odd",
    )
    given: dict[str, Any] = {
        "position": log.c.n,
        "stream_id": log.c.Stream,
        "version": log.c.no,
        "type": log.c.kind,
        "type_prefix": "Shop.",
        "data": log.c.body,
        "metadata": {"*": log.c.about, "org": log.c.org},
        "recorded_at": log.c.at,
        "tenant": log.c.org,
    }
    return EventSource(select(log).where(~log.c.hidden), **(given | changes))


async def insert(driver: asyncpg.Connection[Any], events: Sequence[Event]) -> None:
    """Writes events."""
    await driver.executemany(
        'INSERT INTO odd."Log" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false)',
        [
            (
                event.position,
                uuid.UUID(event.stream_id),
                event.version - 1,
                f"Shop.{event.type}",
                json(event.data),
                None if event.version % 5 == 0 else json(event.metadata).encode(),
                None if event.version % 7 == 0 else event.metadata["more"][0] % 3,
                event.recorded_at.replace(tzinfo=None),
            )
            for event in events
        ],
    )


def _keeps(event: Event) -> Event:
    about = {} if event.version % 5 == 0 else dict(event.metadata)
    if event.version % 7:
        about["org"] = event.metadata["more"][0] % 3
    return event._replace(version=event.version - 1, metadata=about)


# From 0, by 7, with a wide gap after the hundredth.
ODD = Shape("odd", DDL, source, insert, _keeps, lambda n: 7 * n + (10**15 if n >= 100 else 0))
