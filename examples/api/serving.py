"""Events that an application writes, and Refold in a worker of its own."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, MetaData, Table, Text, Uuid, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from refold import (
    EventSource,
    InOrder,
    Locks,
    Marked,
    NewEvent,
    Patience,
    RefoldPlugin,
    WrongExpectedVersion,
    append,
)


def event_source() -> EventSource:
    """An application's own table of events; REFOLD_EVENTS names the object that is returned."""
    log = Table(
        "app_events",
        MetaData(),
        Column("id", BigInteger, primary_key=True),
        Column("account", Uuid, nullable=False),
        Column("kind", Text),
        Column("payload", JSONB),
        Column("created_at", DateTime(timezone=True)),
    )
    return EventSource(
        select(log).where(log.c.kind.not_like("internal.%")),
        position=log.c.id,
        stream_id=log.c.account,
        type=log.c.kind,
        type_prefix="shop.",
        data=log.c.payload,
        metadata={"account": log.c.account},
        recorded_at=log.c.created_at,
    )


def locks() -> Locks:
    """Positions come from a sequence that no column's default names."""
    return Locks(sequences=["shop.event_numbers"])


def in_order() -> InOrder:
    """All writers take the same lock before they draw a position."""
    return InOrder()


def patience() -> Patience:
    """An application draws positions 50 at a time, and a process of it lives for a week."""
    return Patience(seconds=30, again_seconds=7 * 86_400)


def marked() -> Marked:
    """The event store keeps a high-water mark."""
    progress = Table("progress", MetaData(), Column("name", Text), Column("last", BigInteger))
    return Marked(select(progress.c.last).where(progress.c.name == "HighWaterMark"))


async def append_events(engine: AsyncEngine) -> None:
    """Two events, in the application's own transaction."""
    ordered = [
        NewEvent("OrderPlaced", {}, metadata={"customer_id": "ann"}),
        NewEvent("ItemAdded", {"sku": "tea", "quantity": 2, "unit_price": "4.50"}),
    ]
    try:
        async with engine.begin() as connection:
            await append(connection, "order-77", ordered, expected_version=0)
    except WrongExpectedVersion as error:
        print(error)


async def refold_plugin(client: Client, database_url: str) -> None:
    """A worker that serves Refold's workflows beside those of an application."""
    plugin = RefoldPlugin(database_url=database_url, projections=["projections"])
    async with Worker(client, task_queue="own-queue", plugins=[plugin]):
        print("at work")
