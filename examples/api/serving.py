"""Events that an application writes, and Refold in a worker of its own."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker

from refold import NewEvent, RefoldPlugin, WrongExpectedVersion, append


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
