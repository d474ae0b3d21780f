"""Ending a run: what it leaves behind is removed, its lease given up. Also for runs that died."""

from __future__ import annotations

import logging

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import announcing
from refold.errors import RunEnded
from refold.store import (
    generations,
    leases,
    partitions,
    read_models,
    runs,
    selected_keys,
    snapshots,
)
from refold.store.leases import Lease
from refold.system_events import ProjectionBackfillFailed

logger = logging.getLogger(__name__)

# A run whose Temporal does not know it (any more) is given up after this silence, in seconds.
_SILENCE_SECONDS = 60.0


async def end_run(
    engine: AsyncEngine,
    *,
    run_id: str,
    projection: str,
    status: str,
    error: str | None,
    ended_by: str | None = None,
    refused: ProjectionBackfillFailed | None = None,
    keeps: int | None = None,
) -> None:
    """Removes what the run has not put live, gives up its lease and records how it ended.

    Safe to repeat. Raises when a lock is not to be had within seconds: try again.

    Args:
        engine: The database.
        run_id: The run.
        projection: What it wrote.
        status: How it ended.
        error: Why, if it did not complete.
        ended_by: The workflow execution that says so; None when nobody is left who could.
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
        if run is not None and status in announcing.WORKED and _ended_otherwise(run, ended_by):
            raise runs.ended_before(run)
        events = await announcing.count_events(connection, run) if run is not None else 0
        # First the partitions: that fences any attempt which is still at work.
        await partitions.remove(connection, run_id)
        await selected_keys.remove(connection, run_id)
        for generation in await _built_by(connection, projection, run_id):
            if generation.generation == keeps:
                await snapshots.freeze(connection, projection, keeps)
            else:
                await drop(connection, generation)
        if keeps is not None:
            await _require_snapshot(connection, projection, keeps)
        await _fence_in_place(connection, run_id, projection)
        await runs.end(connection, run_id, status, error, ended_by=ended_by)
        await leases.release(connection, run_id)
        if run is not None:
            await announcing.ended(connection, run, status, error, events)
        elif refused is not None:
            await announcing.failed(connection, refused)


def _ended_otherwise(run: runs.RunRecord, ended_by: str | None) -> bool:
    return run.ended_at is not None and run.ended_by != ended_by


async def _built_by(
    connection: AsyncConnection, projection: str, run_id: str
) -> list[generations.Generation]:
    """What the run was building, locked: an attempt that is still at work may be about to swap."""
    known = await generations.of_projection(connection, projection)
    own = [one for one in known if one.run_id == run_id and one.status == generations.BUILDING]
    locked = [
        await generations.get(connection, projection, one.generation, lock=True) for one in own
    ]
    return [one for one in locked if one is not None and one.status == generations.BUILDING]


async def _require_snapshot(connection: AsyncConnection, projection: str, number: int) -> None:
    kept = await generations.get(connection, projection, number)
    if kept is None or kept.status != generations.SNAPSHOT:
        raise RunEnded(f"generation {number} of {projection!r} is gone: it is no snapshot")


async def _fence_in_place(connection: AsyncConnection, run_id: str, projection: str) -> None:
    lease = await leases.holder(connection, projection)
    if lease is not None and lease.run_id == run_id:
        await generations.fence_active(connection, projection)


async def drop(connection: AsyncConnection, generation: generations.Generation) -> None:
    """Drops a generation's table. Raises when something hangs on it, or a lock is not to be had."""
    await read_models.drop_shadow(connection, generation.schema_name, generation.table_name)
    await generations.discard(connection, generation.projection, generation.generation)


async def is_alive(client: Client, lease: Lease) -> bool:
    """Whether the run that holds a lease is still running, as far as Temporal knows."""
    if lease.namespace != client.namespace:
        return lease.idle_seconds < _SILENCE_SECONDS
    try:
        found = await client.get_workflow_handle(lease.workflow_id).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        # Perhaps another Temporal server's run on the same database: only silence tells.
        return lease.idle_seconds < _SILENCE_SECONDS
    first_run_id = found.raw_description.workflow_execution_info.first_run_id
    return found.status == WorkflowExecutionStatus.RUNNING and first_run_id == lease.run_id


async def sweep(engine: AsyncEngine, client: Client) -> list[str]:
    """Ends the runs that Temporal has ended without them: terminated, timed out.

    Only what a run was building is removed: never a live table, nor one that is retained.

    Returns:
        The run ids that were swept.
    """
    async with engine.connect() as connection:
        held = await leases.all_leases(connection)
    swept = []
    for lease in held:
        if not await is_alive(client, lease):
            await give_up(engine, lease)
            swept.append(lease.run_id)
    return swept


async def give_up(engine: AsyncEngine, lease: Lease) -> None:
    """Ends a run that is no longer running."""
    logger.warning(
        "run %s (workflow %s) ended without cleaning up: removing what it left of %s",
        lease.run_id,
        lease.workflow_id,
        lease.projection,
    )
    await end_run(
        engine,
        run_id=lease.run_id,
        projection=lease.projection,
        status="failed",
        error="the workflow was ended from outside (terminated or timed out)",
    )
