"""Ending a run, also one that has died: what it leaves is removed, its lease is given up."""

from __future__ import annotations

import logging

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.engine.lifecycle import announcements
from refold.errors import RunEnded
from refold.messages.run.endings import Why
from refold.messages.run.status import WORKED, RunStatus
from refold.runtime.judgement import told
from refold.store import generations, leases, partitions, runs, schema, selected_keys
from refold.store.leases import Lease
from refold.store.sessions.takeover import take_over
from refold.store.side_keys import tables as side_tables
from refold.store.snapshots import copies
from refold.store.tables import read_models
from refold.system_events.events import ProjectionBackfillFailed

logger = logging.getLogger(__name__)


async def end_run(
    engine: AsyncEngine,
    *,
    run_id: str,
    projection: str,
    status: RunStatus,
    why: Why,
    ended_by: str | None = None,
    refused: ProjectionBackfillFailed | None = None,
    keeps: int | None = None,
) -> None:
    """Removes what the run has not put live, gives up its lease and records how it ended.

    A table that cannot be dropped now is fenced and left to the sweep; it keeps nobody from
    beginning anew. Ending a run twice is safe. A lock on Refold's own rows that is not to be had
    within seconds raises the driver's error: try again.

    Args:
        engine: The database.
        run_id: The run.
        projection: What it wrote.
        status: How it ended.
        why: Why, if it did not complete.
        ended_by: The workflow execution that ends it; None when none is left that could.
        refused: What to record of a run that was refused before it had its lease.
        keeps: A generation of its own that is finished and becomes a snapshot.

    Raises:
        RunEnded: The generation to keep is gone, or another execution has ended the run and this
            one says that it worked.
    """
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        # The order in which all lock: lease, partitions, generations.
        await leases.hold(connection, run_id)
        run = await runs.get(connection, run_id)
        if run is not None and status in WORKED and _ended_otherwise(run, ended_by):
            raise runs.ended_before(run)
        events = await announcements.count_events(connection, run) if run is not None else 0
        # First the partitions: that fences any attempt which is still at work.
        await partitions.remove(connection, run_id)
        await selected_keys.remove(connection, run_id)
        if run is None or run.plan is None or run.plan.get("key_cuts"):
            await _drop_keys(connection, run_id)
        for generation in await _built_by(connection, projection, run_id):
            if generation.generation == keeps:
                await copies.freeze(connection, projection, keeps)
            else:
                await _drop_or_leave(connection, generation)
        if keeps is not None:
            await _require_snapshot(connection, projection, keeps)
        await _fence_in_place(connection, run_id, projection)
        await runs.end(connection, run_id, status, why.error, ended_by=ended_by)
        await leases.release(connection, run_id)
        if run is not None:
            await announcements.ended(connection, run, status, why, events)
        elif refused is not None:
            await announcements.failed(connection, refused)


async def clear_what_is_held(engine: AsyncEngine, run_id: str) -> None:
    """Ends the sessions of attempts that stopped in the midst of the run's work.

    Raises:
        MissingRight: They are of another role, which this one may not end.
    """
    for rows in (schema.leases, schema.partitions, schema.runs):
        await take_over(engine, rows, rows.c.run_id == run_id)
    # The generation that the run has put live has a follower by now, which is spared.
    generation = schema.generations
    await take_over(engine, generation, generation.c.run_id == run_id, spares_work=True)


def _ended_otherwise(run: runs.RunRecord, ended_by: str | None) -> bool:
    return run.ended_at is not None and run.ended_by != ended_by


async def _built_by(
    connection: AsyncConnection, projection: str, run_id: str
) -> list[generations.Generation]:
    """What the run was building, locked: an attempt that is still at work may be about to swap."""
    building = await generations.of_status(connection, projection, generations.BUILDING)
    locked = [
        await generations.get(connection, projection, one.generation, lock=True)
        for one in building
        if one.run_id == run_id
    ]
    return [one for one in locked if one is not None and one.status == generations.BUILDING]


async def _drop_or_leave(connection: AsyncConnection, generation: generations.Generation) -> None:
    try:
        async with connection.begin_nested():
            await drop(connection, generation)
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        await generations.take_fence(connection, generation.projection, generation.generation)
        logger.warning(
            "generation %d of %s is left behind for now: %s",
            generation.generation,
            generation.projection,
            told(error),
        )


async def _drop_keys(connection: AsyncConnection, run_id: str) -> None:
    """Drops the run's side table; if somebody reads it still, it is left to the sweep."""
    try:
        async with connection.begin_nested():
            await side_tables.drop(connection, side_tables.names_of(run_id))
    except DBAPIError as error:
        if error.connection_invalidated:
            raise
        logger.warning("the keys of run %s are left behind for now: %s", run_id, told(error))


async def _require_snapshot(connection: AsyncConnection, projection: str, number: int) -> None:
    kept = await generations.get(connection, projection, number)
    if kept is None or kept.status != generations.SNAPSHOT:
        raise RunEnded(f"generation {number} of {projection!r} is gone: it is no snapshot")


async def _fence_in_place(connection: AsyncConnection, run_id: str, projection: str) -> None:
    lease = await leases.holder(connection, projection)
    if lease is not None and lease.run_id == run_id:
        await generations.fence_active(connection, projection)


async def drop(connection: AsyncConnection, generation: generations.Generation) -> None:
    """Drops a generation's table. Raises when something is attached to it, or it is locked."""
    await read_models.drop_shadow(connection, generation.schema_name, generation.table_name)
    await generations.discard(connection, generation.projection, generation.generation)


async def give_up(engine: AsyncEngine, lease: Lease) -> None:
    """Ends a run that is no longer running, or that somebody wants ended."""
    logger.warning(
        "run %s (workflow %s) ended without cleaning up: removing what it left of %s",
        lease.run_id,
        lease.workflow_id,
        lease.projection,
    )
    why = "the workflow was ended from outside (terminated or timed out)"
    if lease.released_by is not None:
        why = f"its projection was released by {lease.released_by}"
    await clear_what_is_held(engine, lease.run_id)
    await end_run(
        engine,
        run_id=lease.run_id,
        projection=lease.projection,
        status=RunStatus.FAILED,
        why=Why(error=why, error_type=RunEnded.__name__),
    )
