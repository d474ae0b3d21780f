"""Live projections, checkpoints, snapshots and the rest: one function for each method."""

from __future__ import annotations

from projections.order_summary import order_summary
from refold import (
    NoSnapshot,
    NotLive,
    ProjectionBackfillRequested,
    ProjectionManager,
    ProjectionRestartRequested,
    ProjectionRollbackRequested,
)


async def start(manager: ProjectionManager) -> None:
    """The read model keeps up with the log from now on."""
    await manager.start("order-summary")


async def restart(manager: ProjectionManager) -> None:
    """It tries again at once, as after a failure."""
    await manager.restart("order-summary")


async def get_status(manager: ProjectionManager) -> None:
    """Where it is in its life, in one word."""
    print(await manager.get_status("order-summary"))


async def get_health(manager: ProjectionManager) -> None:
    """How it is, and why it is not healthy."""
    health = await manager.get_health("order-summary")
    print(health.is_healthy, health.reason, health.standing.lag_events)


async def stop(manager: ProjectionManager) -> None:
    """It stops after the batch in hand."""
    try:
        await manager.stop("order-summary")
    except NotLive as error:
        print(error)


async def get_failing_steps(manager: ProjectionManager) -> None:
    """What fails now and is tried again."""
    for failing in await manager.get_failing_steps("order-summary"):
        print(failing)


async def get_all_projections(manager: ProjectionManager) -> None:
    """How all of them stand, those included that were never built."""
    for standing in await manager.get_all_projections():
        print(standing.projection, standing.generation, standing.lag_events)


async def has_workers(manager: ProjectionManager) -> None:
    """Whether anybody is there to work."""
    if not await manager.has_workers():
        print("start a worker")


# -- checkpoints and snapshots ---------------------------------------------------------------


async def get_current_checkpoint(manager: ProjectionManager) -> None:
    """Up to where readers see all events."""
    print(await manager.get_current_checkpoint("order-summary"))


async def get_checkpoint_place(manager: ProjectionManager) -> None:
    """Where the checkpoint is kept."""
    print(await manager.get_checkpoint_place("order-summary"))


async def reset_checkpoint(manager: ProjectionManager) -> None:
    """As it was five events ago; then up to date again."""
    position = await manager.get_current_checkpoint("order-summary")
    assert position is not None
    await manager.reset_checkpoint("order-summary", position - 5)
    await manager.backfill("order-summary", criteria="incremental_update")


async def start_reset(manager: ProjectionManager) -> None:
    """The same, waited for later."""
    run = await manager.start_reset("order-summary", 10, requested_by="ann")
    await manager.result(run)
    await manager.backfill("order-summary", criteria="incremental_update")


async def create_snapshot(manager: ProjectionManager) -> None:
    """A frozen copy, as of the checkpoint."""
    snapshot = await manager.create_snapshot("order-summary")
    print(snapshot.generation, snapshot.position)


async def start_snapshot(manager: ProjectionManager) -> None:
    """The same, waited for later."""
    run = await manager.start_snapshot("order-summary", requested_by="ann")
    print((await manager.result(run)).generation)


async def get_snapshots(manager: ProjectionManager) -> None:
    """Those there are, the newest first."""
    for snapshot in await manager.get_snapshots("order-summary"):
        print(snapshot.generation, snapshot.position)


async def restore_from_snapshot(manager: ProjectionManager) -> None:
    """A copy of the newest one goes live, with all events since."""
    result = await manager.restore_from_snapshot("order-summary")
    print(result.status, result.position)


async def read_snapshot(manager: ProjectionManager) -> None:
    """The rows as they were, without restoring them."""
    newest = (await manager.get_snapshots("order-summary"))[0]
    rows = await manager.read_snapshot(order_summary, newest.position)
    print(len(rows))


async def start_restore(manager: ProjectionManager) -> None:
    """A snapshot that is named; one that is not there is refused."""
    try:
        run = await manager.start_restore("order-summary", 1_000_000)
    except NoSnapshot as error:
        print(error)
    else:
        await manager.result(run)


async def drop_snapshot(manager: ProjectionManager) -> None:
    """The oldest one is dropped."""
    *_, oldest = await manager.get_snapshots("order-summary")
    await manager.drop_snapshot("order-summary", oldest.generation)


# -- schedules, dead letters, system events --------------------------------------------------


async def add_schedule(manager: ProjectionManager) -> None:
    """Each night at three, what the last two days have touched."""
    made = await manager.add_schedule(
        "order-summary", "0 3 * * *", criteria="last_n_days", last_n=2, time_zone="Europe/Berlin"
    )
    print(made.id, made.next_run)


async def get_schedules(manager: ProjectionManager) -> None:
    """Those of one projection."""
    for schedule in await manager.get_schedules("order-summary"):
        print(schedule.id, schedule.when, schedule.last_run)


async def remove_schedule(manager: ProjectionManager) -> None:
    """A run that it has started goes on."""
    await manager.remove_schedule("schedule/order-summary")


async def get_dead_letters(manager: ProjectionManager) -> None:
    """The events that were set aside."""
    for letter in await manager.get_dead_letters("order-summary"):
        print(letter.position, letter.error)


async def retry_dead_letters(manager: ProjectionManager) -> None:
    """Their keys are folded again."""
    print((await manager.retry_dead_letters("order-summary")).dead_letters)


async def skip_dead_letters(manager: ProjectionManager) -> None:
    """All of them are passed over for good."""
    letters = await manager.get_dead_letters("order-summary")
    await manager.skip_dead_letters("order-summary", [letter.position for letter in letters])


async def start_retry(manager: ProjectionManager) -> None:
    """A retry, waited for later."""
    run = await manager.start_retry("order-summary", requested_by="ann")
    await manager.result(run)


async def publish(manager: ProjectionManager) -> None:
    """Asked for by event: whoever listens hears of it, too."""
    asked = await manager.publish(
        ProjectionRestartRequested(projection="order-summary", requested_by="ann")
    )
    print(asked)


async def projection_backfill_requested(manager: ProjectionManager) -> None:
    """A backfill that is asked for by event."""
    await manager.publish(
        ProjectionBackfillRequested(projection="order-summary", is_atomic=True, requested_by="ann")
    )


async def projection_rollback_requested(manager: ProjectionManager) -> None:
    """A rollback that is asked for by event."""
    await manager.publish(
        ProjectionRollbackRequested(projection="order-summary", correlation_id="ticket-17")
    )


async def projection_restart_requested(manager: ProjectionManager) -> None:
    """A restart in a while that is asked for by event."""
    await manager.publish(ProjectionRestartRequested(projection="order-summary", delay_seconds=0.5))


async def get_system_events(manager: ProjectionManager) -> None:
    """What has happened, the latest last."""
    for event in await manager.get_system_events("order-summary", limit=10):
        print(event.number, event.type, event.data)
