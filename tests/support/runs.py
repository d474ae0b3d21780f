"""Starting runs and waiting for them, and what their rows must be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

from sqlalchemy import insert, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from refold import Event, Projection, Row
from refold.messages.run.life import BackfillResult
from refold.projection.key import Key
from refold.projection.registry import Registry
from refold.source.port.elsewhere import events_engine
from refold.source.reader import read_window
from refold.store import generations
from refold.store.schema import events
from refold.worker.plugin import RefoldPlugin
from refold.workflows import mirror as mirror_workflow
from refold.workflows import projection as projection_workflow
from tests.support.databases import Database
from tests.support.roles import engine_of_workers

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)

# A workflow hears of its first segment when that ends: dozens of tests wait for it.
_FIRST_SECONDS = 0.5


@asynccontextmanager
async def working(
    client: Client, database: Database, registry: Registry, **changes: Any
) -> AsyncIterator[Worker]:
    """A worker in this process, on a task queue of the database's own."""
    settings = database.settings.model_copy(update={"task_queue": queue(database), **changes})
    engine = await engine_of_workers(database)
    plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine, chores=False)
    worker = Worker(
        client,
        task_queue=settings.task_queue,
        plugins=[plugin],
        # Workflows are run in the sandbox where they are replayed, and in worker processes: to make
        # one for each run is a tenth of a short run's work in this process.
        workflow_runner=UnsandboxedWorkflowRunner(),
        # The usual five polls of each kind are a tenth of a short test's work.
        max_concurrent_workflow_task_polls=2,
        max_concurrent_activity_task_polls=2,
    )
    with ExitStack() as stack:
        for module in (projection_workflow, mirror_workflow):
            stack.enter_context(patch.object(module, "FIRST_SECONDS", _FIRST_SECONDS))
        async with worker:
            yield worker
    if engine is not database.engine:
        await engine.dispose()


def queue(database: Database) -> str:
    """The task queue for a test: no other test's worker answers there."""
    return "queue-" + database.url.rsplit("/", 1)[1]


async def start(
    client: Client,
    database: Database,
    kind: str,
    *inputs: Any,
    workflow_id: str | None = None,
) -> WorkflowHandle[Any, BackfillResult]:
    """Starts a workflow as any Temporal client would, by name and with plain JSON."""
    return await client.start_workflow(
        kind,
        args=list(inputs),
        id=workflow_id or f"{kind}/{queue(database)}",
        task_queue=queue(database),
        result_type=BackfillResult,
    )


async def run(
    client: Client, database: Database, kind: str, projection: str, **fields: Any
) -> BackfillResult:
    """Runs a workflow to its end."""
    handle = await start(client, database, kind, {"projection": projection, **fields})
    return await asyncio.wait_for(handle.result(), 150)


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Waits for a condition."""
    pause = 0.02
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.2)  # looking takes a processor that others wait for


async def write(engine: AsyncEngine, new: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
    """Appends events (stream, type, data), each at its stream's next version."""
    await write_to(events_engine(engine), new)


async def write_to(engine: AsyncEngine, new: Iterable[tuple[str, str, dict[str, Any]]]) -> None:
    """Appends events to the database that this engine is of."""
    versions: dict[str, int] = {}
    rows = []
    async with engine.begin() as connection:
        known = await connection.execute(
            text("SELECT stream_id, max(version) FROM refold.events GROUP BY stream_id")
        )
        versions = {row[0]: row[1] for row in known}
        for stream_id, event_type, data in new:
            versions[stream_id] = versions.get(stream_id, 0) + 1
            rows.append(
                {
                    "stream_id": stream_id,
                    "version": versions[stream_id],
                    "type": event_type,
                    "data": data,
                    "metadata": {},
                    "recorded_at": NOON,
                }
            )
        if rows:
            await connection.execute(insert(events), rows)


async def events_upto(
    engine: AsyncEngine, projection: Projection, upto: int | None = None
) -> list[Event]:
    """All events a projection reads, up to a position, in order."""
    async with engine.connect() as connection:
        return await read_window(
            connection,
            types=projection.event_types,
            after=0,
            upto=upto if upto is not None else 2**62,
            limit=2**31,
        )


async def rows_of(engine: AsyncEngine, projection: Projection) -> dict[Key, Row]:
    """The rows that readers see, by key."""
    names = projection.key_columns
    async with engine.connect() as connection:
        found = {}
        for record in await connection.execute(select(projection.table)):
            row = dict(record._mapping)
            parts = tuple(row[name] for name in names)
            found[parts[0] if len(parts) == 1 else parts] = row
        return found


async def checkpoint(engine: AsyncEngine, projection: Projection) -> int:
    """The active generation's checkpoint."""
    async with engine.connect() as connection:
        active = await generations.active(connection, projection.name)
    assert active is not None
    assert active.position is not None
    return active.position


async def last(database: Database) -> int:
    """The last event's position; 0 for none."""
    async with database.log.connect() as connection:
        found = await connection.scalar(text("SELECT max(position) FROM refold.events"))
    return int(found or 0)


async def assert_oracle(engine: AsyncEngine, projection: Projection) -> dict[Key, Row]:
    """Checks row by row that the live table is the fold of the events up to its checkpoint."""
    position = await checkpoint(engine, projection)
    expected = projection.fold(await events_upto(engine, projection, position))
    actual = await rows_of(engine, projection)
    different = {
        key: (expected.get(key), actual.get(key))
        for key in expected.keys() | actual.keys()
        if expected.get(key) != actual.get(key)
    }
    assert not different, f"{len(different)} rows differ: {dict(list(different.items())[:3])}"
    return actual


async def leftovers(engine: AsyncEngine) -> list[str]:
    """What runs have made and not removed: generations, their schemas, leases, slices, keys."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text(
                """
                SELECT 'schema ' || nspname FROM pg_namespace
                WHERE nspname LIKE 'refold\\_%' AND nspname NOT IN
                      (SELECT schema_name FROM refold.generations
                       WHERE status IN ('retained', 'snapshot', 'base'))
                UNION ALL SELECT 'generation ' || generation FROM refold.generations
                          WHERE status = 'building'
                UNION ALL SELECT 'lease ' || projection FROM refold.leases
                UNION ALL SELECT 'partition of ' || run_id FROM refold.partitions
                UNION ALL SELECT 'side table ' || tablename FROM pg_tables
                          WHERE schemaname = 'refold' AND tablename ~ '^(keys|key_slices)_'
                """
            )
        )
        return list(found.scalars())


async def history_length(handle: WorkflowHandle[Any, Any]) -> int:
    """How many events a workflow's history has."""
    return len((await handle.fetch_history()).events)
