"""Mirrors in tests: started, watched, and what they have copied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from refold.messages.mirrors import MirrorProgress
from refold.projection.registry import Registry
from refold.source.mirrors import MirroredEvent
from refold.store.mirrors import cursors
from tests.support.counting import counting
from tests.support.databases import Database
from tests.support.mirrored import Feed, feed
from tests.support.runs import queue, until, working

MIRRORS = ["tests.support.mirrored:feed"]
Mirror = WorkflowHandle[Any, MirrorProgress]


@contextmanager
def fresh() -> Iterator[Feed]:
    """The source `feed`, with nothing in it."""
    feed.__init__()  # type: ignore[misc]
    yield feed
    feed.__init__()  # type: ignore[misc]


@asynccontextmanager
async def mirror(client: Client, database: Database, **fields: Any) -> AsyncIterator[Mirror]:
    handle: Mirror = await client.start_workflow(
        "Mirror",
        {"mirror": "feed", **fields},
        id=f"mirror/{queue(database)}",
        task_queue=queue(database),
        result_type=MirrorProgress,
    )
    try:
        yield handle
    finally:
        with suppress(RPCError):
            await handle.terminate()


async def landed(database: Database) -> list[tuple[Any, ...]]:
    """What the log has, in its order."""
    columns = "stream_id, version, type, data, metadata, recorded_at"
    async with database.engine.connect() as connection:
        found = await connection.execute(
            text(f"SELECT {columns} FROM refold.events ORDER BY position")
        )
        return [tuple(row) for row in found]


def as_landed(events: list[MirroredEvent]) -> list[tuple[Any, ...]]:
    return [
        (e.stream_id, e.version, e.type, dict(e.data), dict(e.metadata), e.recorded_at)
        for e in events
    ]


async def until_landed(database: Database, count: int) -> None:
    async def there() -> bool:
        return len(await landed(database)) >= count

    await until(there)


async def progress(handle: Mirror) -> MirrorProgress:
    answer: MirrorProgress = await handle.query("progress", result_type=MirrorProgress)
    return answer


async def until_is(handle: Mirror, status: str) -> MirrorProgress:
    async def reached() -> bool:
        return bool(await handle.query("status") == status)

    await until(reached)
    return await progress(handle)


def at_work(client: Client, database: Database) -> Any:
    return working(client, database, Registry([counting]), mirrors=MIRRORS)


async def take(database: Database, installation: str = "here") -> cursors.Taken:
    async with database.engine.begin() as connection:
        return await cursors.take(
            connection,
            "feed",
            source="a:feed",
            workflow_id="mirror/feed",
            namespace="default",
            installation=installation,
            requested_by=None,
        )
