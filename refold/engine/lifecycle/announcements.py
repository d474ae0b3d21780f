"""System events of runs: recorded in the transactions that make them true."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.messages.run.life import ProgressReport
from refold.messages.run.plan import Plan
from refold.messages.run.status import WORKED, RunStatus
from refold.requests.runs import Request
from refold.runtime.database import server_error
from refold.store import generations, partitions, runs, schema, system_events
from refold.store.runs import RunRecord
from refold.store.sessions.takeover import take_over
from refold.system_events.events import (
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillStarted,
    ProjectionCheckpointRestored,
    ProjectionSnapshotCreated,
    ProjectionSnapshotRestored,
    SystemEvent,
)

# Progress is recorded no more often than this, and only once in so much of the work.
_PROGRESS_SECONDS = 5.0
_PROGRESS_SHARE = 0.01


async def clear_the_way(engine: AsyncEngine, projection: str) -> None:
    """Ends a connection that has stopped in the midst of recording an event of the projection.

    Nothing is recorded as long as it lives: see `refold.store.sessions.takeover`.
    """
    counters = schema.system_event_counters
    await take_over(engine, counters, counters.c.projection == projection)


@asynccontextmanager
async def sampling(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction for recording what is only a sample.

    A session that holds the system events' lock must not hold up the work: the sample is left out
    then.
    """
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            yield connection
    except DBAPIError as error:
        if not isinstance(server_error(error), asyncpg.LockNotAvailableError):
            raise


async def started(connection: AsyncConnection, plan: Plan, kind: str, request: Request) -> None:
    """Records that a run has its plan, at the end of the transaction that writes the plan."""
    event = ProjectionBackfillStarted(
        projection=plan.projection,
        correlation_id=request.correlation_id,
        run_id=plan.run_id,
        kind=kind,
        generation=plan.generation,
        total_events=plan.total_events,
        requested_by=request.requested_by,
    )
    await system_events.record(connection, event, key=f"{plan.run_id}/started", run_id=plan.run_id)


async def progressed(connection: AsyncConnection, run_id: str, report: ProgressReport) -> None:
    """Records how far a run has come, now and then."""
    run = await runs.get(connection, run_id, lock=True)
    if run is None or run.plan is None or run.ended_at is not None:
        return
    done = report.followed_events + sum(p.events_processed for p in report.partitions)
    total = max(done, int(run.plan["total_events"]))
    kind = ProjectionBackfillProgress.__name__
    last = await system_events.latest_of_run(connection, run.projection, run_id, kind)
    if last is not None:
        seconds = (datetime.now(UTC) - last.recorded_at).total_seconds()
        more = done - int(last.data["events_processed"])
        if seconds < _PROGRESS_SECONDS or more < _PROGRESS_SHARE * total:
            return
    event = ProjectionBackfillProgress(
        projection=run.projection,
        correlation_id=run.request.get("correlation_id"),
        run_id=run_id,
        kind=run.kind,
        events_processed=done,
        total_events=total,
    )
    await system_events.record(connection, event, run_id=run_id)


async def count_events(connection: AsyncConnection, run: RunRecord) -> int:
    """Events that a run has folded and committed."""
    counted = await partitions.counts(connection, run.run_id)
    return run.followed_events + sum(count.processed_events for count in counted)


async def ended(
    connection: AsyncConnection, run: RunRecord, status: RunStatus, error: str | None, events: int
) -> None:
    """Records how a run ended, at the end of the transaction that ends it; the first one stands."""
    correlation_id = run.request.get("correlation_id")
    if status not in WORKED or error is not None:
        await failed(
            connection,
            ProjectionBackfillFailed(
                projection=run.projection,
                correlation_id=correlation_id,
                run_id=run.run_id,
                kind=run.kind,
                status=status,
                error=error or f"the run ended as {status}",
            ),
        )
        return
    active = await generations.active(connection, run.projection)
    event = ProjectionBackfillCompleted(
        projection=run.projection,
        correlation_id=correlation_id,
        run_id=run.run_id,
        kind=run.kind,
        status=status,
        generation=active.generation if active else None,
        position=active.position if active else None,
        events_processed=events,
    )
    await system_events.record(connection, event, key=_end(run.run_id), run_id=run.run_id)
    await _restored(connection, run, event)


async def _restored(
    connection: AsyncConnection, run: RunRecord, completed: ProjectionBackfillCompleted
) -> None:
    """Records what a run that worked has done to snapshots and checkpoints."""
    plan = Plan.model_validate(run.plan) if run.plan is not None else None
    about = {"projection": run.projection, "correlation_id": completed.correlation_id}
    done: SystemEvent | None = None
    if plan is None or completed.position is None:
        return
    if plan.copies is not None and plan.atomic and plan.selection is None:
        done = ProjectionSnapshotRestored(
            **about, generation=plan.copies, position=completed.position
        )
    elif plan.copies is not None and not plan.atomic:
        made = await generations.get(connection, run.projection, plan.generation)
        if made is not None and made.position is not None:
            done = ProjectionSnapshotCreated(
                **about, generation=made.generation, position=made.position
            )
    elif plan.stale:
        done = ProjectionCheckpointRestored(**about, position=completed.position)
    if done is not None:
        key = f"{run.run_id}/{type(done).__name__}"
        await system_events.record(connection, done, key=key, run_id=run.run_id)


async def failed(connection: AsyncConnection, event: ProjectionBackfillFailed) -> None:
    """Records that a run failed, unless its end is recorded already."""
    key = None if event.run_id is None else _end(event.run_id)
    await system_events.record(connection, event, key=key, run_id=event.run_id)


def _end(run_id: str) -> str:
    return f"{run_id}/ended"
