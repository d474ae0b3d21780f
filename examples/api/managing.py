"""Runs from Python: one function for each method of the manager, named as the method is."""

from __future__ import annotations

import asyncio
from datetime import date

from temporalio.client import Client

from refold import (
    BackfillRequest,
    InvalidRequest,
    Limits,
    Progress,
    ProjectionBusy,
    ProjectionManager,
    RunFailed,
    UnknownProjection,
)


async def projection_manager(client: Client, database_url: str) -> None:
    """A manager for the life of a program, or of a few calls."""
    async with ProjectionManager(client, database_url, task_queue="refold") as manager:
        for standing in await manager.get_all_projections():
            print(standing.projection, standing.position, standing.lag_events)


async def close(manager: ProjectionManager) -> None:
    """Its connections are given back; the next call opens new ones."""
    await manager.close()


async def require_known(manager: ProjectionManager) -> None:
    """Asks for nothing, and says whether one could."""
    try:
        await manager.require_known("order-sumary")
    except UnknownProjection as error:
        print(error)


# -- runs ------------------------------------------------------------------------------------


async def rebuild(manager: ProjectionManager) -> None:
    """A rebuild, and what may come of it."""
    try:
        result = await manager.rebuild("order-summary", batch_size=500, requested_by="ann")
    except ProjectionBusy as busy:
        print("wait for", busy.workflow_id)
    except RunFailed as failed:
        print(failed.code, failed.type, failed.message)
    else:
        print(result.status, result.generation, result.events_processed)


async def backfill(manager: ProjectionManager) -> None:
    """By dates, with progress; the same as a request, as a dict and as keyword arguments."""

    async def show(progress: Progress) -> None:
        print(f"{progress.percent_complete:.1f} %, {progress.phase}")

    since = date(2026, 1, 1)
    await manager.backfill("order-summary", from_date=since, on_progress=show)
    await manager.backfill("order-summary", {"from_date": "2026-01-01"})
    await manager.backfill("order-summary", BackfillRequest(projection="order-summary"))
    await manager.backfill("order-summary", criteria="incremental_update", missing=True)


async def plan(manager: ProjectionManager) -> None:
    """What would be done."""
    found = await manager.plan("Backfill", "order-summary", last_n=100, criteria="last_n_events")
    print(found.selected_keys, found.total_events, found.note)


async def start_backfill(manager: ProjectionManager) -> None:
    """Started, and waited for later."""
    run = await manager.start_backfill("order-summary", predicate="event.type == 'ItemAdded'")
    print(run.workflow_id, run.run_id)
    print((await manager.result(run)).status)


async def start_rebuild(manager: ProjectionManager) -> None:
    """Started, and watched."""
    run = await manager.start_rebuild("order-summary", {"max_concurrency": 2})
    async for progress in manager.watch(run):
        print(progress.status, progress.events_processed)


async def rollback_projection(manager: ProjectionManager) -> None:
    """Back to what the latest rebuild has replaced."""
    result = await manager.rollback_projection("order-summary", requested_by="ann")
    print(result.status, result.generation)


async def start_rollback(manager: ProjectionManager) -> None:
    """Back to what version 1 built last."""
    run = await manager.start_rollback("order-summary", to_version=1)
    await manager.result(run)


async def result(manager: ProjectionManager) -> None:
    """A run's end, with its progress until then."""
    run = await manager.start_rebuild("order-summary")
    ended = await manager.result(run, on_progress=lambda progress: print(progress.phase))
    print(ended.status, ended.note)


async def watch(manager: ProjectionManager) -> None:
    """The progress of one run, whatever comes after it."""
    run = await manager.start_backfill("order-summary")
    async for progress in manager.watch(run):
        print(progress.events_processed, "of", progress.total_events)


# -- the run at hand -------------------------------------------------------------------------


async def current_run(manager: ProjectionManager) -> None:
    """Which run is at a projection, or was the latest."""
    run = await manager.current_run("order-summary")
    print(run.workflow_id)


async def get_progress(manager: ProjectionManager) -> None:
    """How far a run is, once."""
    progress = await manager.get_progress("rebuild/order-summary")
    if progress is not None:
        print(progress.percent_complete, progress.estimated_seconds_remaining)


async def get_backfill_progress(manager: ProjectionManager) -> None:
    """The progress of whatever run is at a projection, until its end."""
    async for progress in manager.get_backfill_progress("order-summary"):
        print(progress.status, progress.percent_complete)


async def get_diff(manager: ProjectionManager) -> None:
    """What a rebuild has changed."""
    await manager.rebuild("order-summary")
    diff = await manager.get_diff("order-summary")
    if diff is not None:
        print(diff.added, diff.removed, diff.changed)


async def approve(manager: ProjectionManager) -> None:
    """A new table goes live when somebody says so."""
    run = await manager.start_rebuild("order-summary", approval="manual")
    async for progress in manager.watch(run):
        if progress.status == "awaiting_approval":
            await manager.approve("order-summary", by="ann")
    print((await manager.result(run)).status)


async def reject(manager: ProjectionManager) -> None:
    """A new table is discarded."""
    run = await manager.start_rebuild("order-summary", approval="manual")
    async for progress in manager.watch(run):
        if progress.status == "awaiting_approval":
            await manager.reject("order-summary", "wrong totals")
    print((await manager.result(run)).reason)


async def cancel_backfill(manager: ProjectionManager) -> None:
    """A run is stopped, with a reason."""
    run = await manager.start_rebuild("order-summary", approval="manual")
    await manager.cancel_backfill("order-summary", "wrong version deployed")
    print((await manager.result(run)).status)


async def pause(manager: ProjectionManager) -> None:
    """A run stands still until it is resumed."""
    run = await manager.start_rebuild("order-summary", events_per_second=20)
    await manager.pause("order-summary")
    await asyncio.sleep(1)
    await manager.resume("order-summary")
    await manager.set_limits("order-summary", events_per_second=0)
    await manager.result(run)


async def resume(manager: ProjectionManager) -> None:
    """A run goes on where it stands; nothing happens to one that goes."""
    run = await manager.start_rebuild("order-summary")
    await manager.resume("order-summary")
    await manager.result(run)


async def set_limits(manager: ProjectionManager) -> None:
    """A run goes slower, or faster, while it goes on."""
    run = await manager.start_rebuild("order-summary", events_per_second=20)
    in_force = await manager.set_limits("order-summary", Limits(events_per_second=0))
    print(in_force.batch_size, in_force.max_concurrency)
    try:
        await manager.set_limits("order-summary", batch_size=0)
    except InvalidRequest as error:
        print(error)
    await manager.result(run)


# -- rows ------------------------------------------------------------------------------------


async def explain(manager: ProjectionManager) -> None:
    """The steps of one row, and whether readers see what its events make of it."""
    from projections.order_summary import order_summary

    told = await manager.explain(order_summary, "INV-1", limit=20)
    for step in told.lives[0].steps:
        print(step.event.position, step.event.type, step.after)
    print("as folded" if told.is_right else "changed by hand, or not built yet")
