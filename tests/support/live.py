"""Live projections in tests: started, watched, and ended with the context."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from refold.messages.recorded_event import RecordedEvent
from refold.projection.registry import Registry
from refold.store import system_events
from refold.worker.chores.caretaker import Caretaker
from refold.worker.chores.dispatch import Dispatch
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.runs import checkpoint, queue, until

Live = WorkflowHandle[Any, Any]


@asynccontextmanager
async def live(
    client: Client, database: Database, *, projection: str = "counters", **fields: Any
) -> AsyncIterator[Live]:
    """A live projection under an id of the test's own."""
    handle = await client.start_workflow(
        "Projection",
        {"projection": projection, **fields},
        id=f"projection/{projection}/{queue(database)}",
        task_queue=queue(database),
    )
    try:
        yield handle
    finally:
        with suppress(RPCError):  # it may have ended
            await handle.terminate()


@asynccontextmanager
async def ended_after(client: Client, *workflow_ids: str) -> AsyncIterator[None]:
    """Ends workflows under their default ids, which the next test needs."""
    try:
        yield
    finally:
        for workflow_id in workflow_ids:
            with suppress(RPCError):
                await client.get_workflow_handle(workflow_id).terminate()


@asynccontextmanager
async def dispatching(
    client: Client, database: Database, registry: Registry
) -> AsyncIterator[None]:
    """Sees to it that handlers are given system events, as a worker process does."""
    dispatch = Dispatch(database.engine, client, registry, queue(database))
    task = asyncio.create_task(Caretaker(database.engine, [dispatch]).work())
    # Handlers begin with what is recorded from now on.
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()


async def until_position(database: Database, position: int) -> None:
    """Waits for a checkpoint of `counters`."""

    async def reached() -> bool:
        return await checkpoint(database.engine, counters()) == position

    await until(reached)


async def until_status(handle: Live, status: str) -> None:
    """Waits for a status."""

    async def reached() -> bool:
        return bool(await handle.query("status") == status)

    await until(reached)


async def recorded(database: Database, projection: str = "counters") -> list[RecordedEvent]:
    """All system events of a projection, in order."""
    async with database.engine.connect() as connection:
        return await system_events.latest(connection, projection, limit=100_000)


async def recorded_types(database: Database) -> list[str]:
    """The types of all system events of `counters`, in order, without those that are sampled."""
    sampled = ("ProjectionBackfillProgress", "ProjectionCheckpointSaved")
    return [event.type for event in await recorded(database) if event.type not in sampled]


async def until_recorded(database: Database, event_type: str, count: int = 1) -> RecordedEvent:
    """Waits for so many system events of a type; the last of them."""

    async def there() -> bool:
        found = [event for event in await recorded(database) if event.type == event_type]
        return len(found) >= count

    await until(there)
    return [event for event in await recorded(database) if event.type == event_type][-1]
