"""System events of runs: recorded in the transactions that make them true."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle import figures
from refold.errors.codes import code_of
from refold.messages.run.endings import Why
from refold.messages.run.life import BackfillResult, Phase, ProgressReport
from refold.messages.run.options import RunOptions
from refold.messages.run.plan import Plan
from refold.messages.run.status import WORKED, RunStatus
from refold.requests.runs import BackfillRequest, Request
from refold.runtime.database import server_error
from refold.store import dead_letters, generations, partitions, runs, schema, system_events
from refold.store.generations import Generation
from refold.store.runs import RunRecord
from refold.store.sessions.takeover import take_over
from refold.system_events.events import (
    ProjectionApprovalAwaited,
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillStarted,
    ProjectionCheckpointRestored,
    ProjectionCheckpointSaved,
    ProjectionDeadLettered,
    ProjectionSnapshotCreated,
    ProjectionSnapshotRestored,
    SystemEvent,
)

# Progress is recorded no more often than this, and only once in so much of the work.
_PROGRESS_SECONDS = 5.0
_PROGRESS_SHARE = 0.01
# It is not complete before its end.
_ALMOST = 99.9


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
        options=_options(plan, request),
        requested_by=request.requested_by,
    )
    await system_events.record(connection, event, key=f"{plan.run_id}/started", run_id=plan.run_id)


def _options(plan: Plan, request: Request) -> RunOptions:
    asked = RunOptions.model_validate(request.model_dump(exclude_none=True))
    if not isinstance(request, BackfillRequest):
        return asked
    goes_by = {
        "is_atomic": plan.atomic,
        "batch_size": plan.batch_size,
        "max_concurrency": plan.max_concurrency,
        "events_per_second": plan.pacing.events_per_second,
        "approval": plan.approval if plan.atomic else None,
        "rollback_on_failure": plan.rollback_on_failure,
        "create_backup": plan.backup is not None and plan.keep_backup,
    }
    return asked.model_copy(update=goes_by)


async def progressed(
    connection: AsyncConnection, run_id: str, report: ProgressReport, phase: Phase
) -> None:
    """Records how far a run has come, now and then."""
    run = await runs.get(connection, run_id, lock=True)
    if run is None or run.plan is None or run.ended_at is not None:
        return
    if report.dead_letters:
        await dead_lettered(connection, run.projection, int(run.plan["generation"]), run_id)
    done = report.followed_events + sum(p.events_processed for p in report.partitions)
    total = max(done, int(run.plan["total_events"]))
    kind = ProjectionBackfillProgress.__name__
    last = await system_events.latest_of_run(connection, run.projection, run_id, kind)
    # When the rate is measured from, and how much had been done by then.
    since, before = run.started_at, 0
    if last is not None:
        since, before = last.recorded_at, int(last.data["events_processed"])
        seconds = (datetime.now(UTC) - since).total_seconds()
        if seconds < _PROGRESS_SECONDS or done - before < _PROGRESS_SHARE * total:
            return
    rate = (done - before) / max((datetime.now(UTC) - since).total_seconds(), 0.001)
    event = ProjectionBackfillProgress(
        projection=run.projection,
        correlation_id=run.request.get("correlation_id"),
        run_id=run_id,
        kind=run.kind,
        events_processed=done,
        total_events=total,
        percent_complete=round(min(_ALMOST, 100 * done / total), 1) if total else 0.0,
        phase=phase,
        events_per_second=round(rate, 1),
        estimated_seconds_remaining=round((total - done) / rate, 1) if rate > 0 else None,
    )
    await system_events.record(connection, event, run_id=run_id)


async def awaited(engine: AsyncEngine, plan: Plan, reasons: Sequence[str]) -> None:
    """Records that a person is to decide about a run, once, if there are reasons to ask one."""
    if not reasons:
        return
    async with sampling(engine) as connection:
        run = await runs.get(connection, plan.run_id)
        if run is None or run.ended_at is not None:
            return
        event = ProjectionApprovalAwaited(
            projection=plan.projection,
            correlation_id=run.request.get("correlation_id"),
            run_id=plan.run_id,
            kind=run.kind,
            generation=plan.generation,
            reasons=list(reasons),
        )
        key = system_events.awaiting_key(plan.run_id)
        await system_events.record(connection, event, key=key, run_id=plan.run_id)


async def dead_lettered(
    connection: AsyncConnection, projection: str, generation: int, run_id: str | None
) -> None:
    """Records that a run, or the live projection, has set events aside, unless that is known."""
    found = await figures.set_aside_by(connection, projection, generation, run_id)
    if found is None:
        return
    count, latest = found
    event = ProjectionDeadLettered(
        projection=projection,
        generation=generation,
        dead_letters=count,
        run_id=run_id,
        position=latest.position,
        event_type=latest.type,
        error=latest.error,
    )
    of = f"generation {generation}/{latest.id}" if run_id is None else run_id
    await system_events.record(connection, event, key=f"{of}/dead letters", run_id=run_id)


async def followed(
    engine: AsyncEngine, projection: str, generation: int, moved_to: int | None
) -> None:
    """Records how far a live projection has come, if it has moved, and what it has set aside."""
    async with sampling(engine) as connection:
        if moved_to is not None:
            saved = ProjectionCheckpointSaved(projection=projection, position=moved_to)
            await system_events.record(connection, saved)
        await dead_lettered(connection, projection, generation, None)


async def count_events(connection: AsyncConnection, run: RunRecord) -> int:
    """Events that a run has folded and committed."""
    counted = await partitions.counts(connection, run.run_id)
    return run.followed_events + sum(count.processed_events for count in counted)


async def ended(
    connection: AsyncConnection, run: RunRecord, status: RunStatus, why: Why, events: int
) -> None:
    """Records how a run ended, at the end of the transaction that ends it; the first one stands."""
    correlation_id = run.request.get("correlation_id")
    if status not in WORKED or why.error is not None:
        await failed(
            connection,
            ProjectionBackfillFailed(
                projection=run.projection,
                correlation_id=correlation_id,
                run_id=run.run_id,
                kind=run.kind,
                status=status,
                error=why.error or f"the run ended as {status}",
                error_type=why.error_type,
                code=code_of(why.error_type),
                is_transient=why.is_transient,
            ),
        )
        return
    active = await generations.active(connection, run.projection)
    plan = None if run.plan is None else Plan.model_validate(run.plan)
    if plan is not None:
        await dead_lettered(connection, run.projection, plan.generation, run.run_id)
    event = ProjectionBackfillCompleted(
        projection=run.projection,
        correlation_id=correlation_id,
        run_id=run.run_id,
        kind=run.kind,
        status=status,
        generation=active.generation if active else None,
        position=active.position if active else None,
        events_processed=events,
        from_date=run.request.get("from_date"),
        to_date=run.request.get("to_date"),
        result=(await _written(connection, run, plan, active)).model_copy(
            update={"status": status, "events_processed": events}
        ),
    )
    await system_events.record(connection, event, key=_end(run.run_id), run_id=run.run_id)
    await _restored(connection, run, plan, event)


async def _written(
    connection: AsyncConnection, run: RunRecord, plan: Plan | None, active: Generation | None
) -> BackfillResult:
    """What the run's workflow returns, as far as the database knows what it has written."""
    written = active
    is_snapshot = plan is not None and plan.copies is not None and not plan.atomic
    if plan is not None and is_snapshot:
        written = await generations.get(connection, run.projection, plan.generation)
    letters = 0
    if written is not None:
        letters = await dead_letters.count(connection, run.projection, written.generation)
    return BackfillResult(
        status=RunStatus.COMPLETED,
        projection=run.projection,
        run_id=run.run_id,
        generation=written.generation if written else None,
        position=written.position if written else None,
        is_snapshot=is_snapshot,
        in_place=plan is not None and not plan.atomic,
        note=None if plan is None else plan.note,
        dead_letters=letters,
    )


async def _restored(
    connection: AsyncConnection,
    run: RunRecord,
    plan: Plan | None,
    completed: ProjectionBackfillCompleted,
) -> None:
    """Records what a run that worked has done to snapshots and checkpoints."""
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
