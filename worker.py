"""The worker: wiring only. `python worker.py` is the same as `refold worker`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities.call_limit import CallLimit
from activities.chores.auto_start import AutoStart
from activities.chores.caretaker import Caretaker
from activities.chores.chore import Chore
from activities.chores.dispatch import Dispatch
from activities.chores.history import History
from activities.chores.presence import Presence
from activities.chores.retention import Retention, SnapshotRetention
from activities.chores.stalls import Stalls
from activities.chores.sweep import Sweep
from activities.delivery import DeliveryActivities
from activities.failures import FailureInterceptor
from activities.following import FollowActivities
from activities.lifecycle import LifecycleActivities
from activities.live import LiveActivities
from activities.planning import PlanningActivities
from activities.refolding import RefoldActivities
from activities.retention import RetentionActivities
from activities.rolling_back import RollbackActivities
from activities.shadowing import ShadowActivities
from activities.snapshotting import SnapshotActivities
from activities.swapping import SwapActivities
from activities.system_events import SystemEventActivities
from activities.verification import VerifyActivities
from activities.waits import WaitInterceptor
from refold.allocator import keep_little
from refold.command import leave, run_command
from refold.database import make_engine, wait_until_reachable
from refold.garbage import calm_garbage_collector, collect_now_and_then
from refold.payloads import forgiving
from refold.registry import Registry, load_registry
from refold.settings import Settings, load_settings
from refold.store.deployments import queue_of
from refold.store.migrate import require_migrated
from refold.temporal import wait_until_connected
from workflows.all import WORKFLOWS
from workflows.interceptor import StepInterceptor

logger = logging.getLogger("refold.worker")

# Beside those that follow live projections, which keep a place each.
MAX_ACTIVITIES = 10
# Cancellation comes with a heartbeat: whoever stops something waits no longer than this.
_HEARTBEAT_THROTTLE = timedelta(seconds=1)
_GRACE = timedelta(seconds=30)
# Not each workflow has classes of its own: making them takes as long as a task, and room for ever.
# That workflows do nothing that is not the same when replayed, the tests of replays see to: there,
# all of their code is in the sandbox.
RESTRICTIONS = SandboxRestrictions.default.with_passthrough_modules("workflows")


def make_worker(
    client: Client,
    engine: AsyncEngine,
    registry: Registry,
    settings: Settings,
    *,
    workflow_runner: WorkflowRunner | None = None,
) -> Worker:
    """A worker with all workflows and activities.

    Args:
        client: Of the Temporal server.
        engine: The database.
        registry: The projections.
        settings: For the task queue and the lengths of things.
        workflow_runner: What workflows run in; None for Temporal's sandbox.
    """
    patience = settings.deployment_seconds
    planning = PlanningActivities(engine, registry, settings)
    rolling_back = RollbackActivities(engine, registry, settings)
    snapshotting = SnapshotActivities(engine, registry, settings)
    refolding = RefoldActivities(engine, registry, settings)
    following = FollowActivities(engine, registry, settings)
    shadowing = ShadowActivities(engine, registry, patience)
    verification = VerifyActivities(engine, registry, patience)
    swapping = SwapActivities(engine, registry, patience)
    retention = RetentionActivities(engine, registry)
    lifecycle = LifecycleActivities(engine)
    live = LiveActivities(engine, registry, patience)
    recording = SystemEventActivities(engine)
    delivery = DeliveryActivities(engine, registry, settings.task_queue)
    return Worker(
        forgiving(client),
        task_queue=settings.task_queue,
        workflows=WORKFLOWS,
        activities=[
            planning.begin_run,
            rolling_back.begin_rollback,
            snapshotting.begin_snapshot,
            snapshotting.copy_generation,
            refolding.refold_segment,
            following.follow_segment,
            shadowing.build_indexes,
            verification.verify_generation,
            shadowing.prepare_swap,
            swapping.swap_generation,
            retention.drop_generations,
            live.follow_live,
            recording.record_system_event,
            recording.read_system_events,
            delivery.next_deliveries,
            delivery.handle_system_event,
            delivery.give_up_delivery,
            lifecycle.watch_progress,
            lifecycle.control_run,
            lifecycle.find_plan,
            lifecycle.finish_run,
        ],
        workflow_runner=workflow_runner or SandboxedWorkflowRunner(restrictions=RESTRICTIONS),
        interceptors=[
            FailureInterceptor(),
            WaitInterceptor(engine, registry),
            StepInterceptor(),
            CallLimit(settings.handler_seconds),
        ],
        max_concurrent_activities=MAX_ACTIVITIES + len(registry) + _handled_at_once(registry),
        # Else whoever has the workflow gets its steps, whoever's turn it is, and gets those again
        # that it has just left to others.
        disable_eager_activity_execution=True,
        max_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=_HEARTBEAT_THROTTLE,
        graceful_shutdown_timeout=_GRACE,
    )


def make_chores(
    client: Client, engine: AsyncEngine, registry: Registry, settings: Settings
) -> list[Chore]:
    """What a worker sees to beside its activities; `Caretaker` runs it."""
    return [
        Stalls(engine),
        Sweep(engine, client),
        Retention(engine, registry),
        SnapshotRetention(engine, registry),
        History(engine, settings),
        Dispatch(engine, client, registry, settings.task_queue),
        AutoStart(engine, client, registry, settings.task_queue),
    ]


def _handled_at_once(registry: Registry) -> int:
    """A place for each handler of each projection: one that hangs takes nobody else's."""
    return sum(len(registry.system_handlers(projection.name)) for projection in registry)


async def run_worker(settings: Settings) -> None:
    """Works until SIGINT or SIGTERM, then finishes the batches in hand.

    Raises:
        RefoldError: The settings, the projections or the database's schema cannot work.
    """
    keep_little()
    registry = load_registry(settings.projections)
    engine = make_engine(settings, activities=MAX_ACTIVITIES + len(registry))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ready = asyncio.create_task(_get_ready(engine))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            return
        client = ready.result()
        names = ", ".join(projection.name for projection in registry) or "none"
        calm_garbage_collector()
        async with make_worker(client, engine, registry, settings):
            logger.info("working on task queue %r, projections: %s", settings.task_queue, names)
            presence = Presence(engine, registry, queue_of(client.namespace, settings.task_queue))
            chores = make_chores(client, engine, registry, settings)
            collector = asyncio.create_task(collect_now_and_then())
            caretaker = asyncio.create_task(Caretaker(engine, [presence, *chores]).work())
            await stopped
            logger.info("stopping: finishing the batches in hand")
            collector.cancel()
            caretaker.cancel()
            with contextlib.suppress(Exception):
                await presence.leave()
    finally:
        ready.cancel()
        stopped.cancel()
        await engine.dispose()


async def _get_ready(engine: AsyncEngine) -> Client:
    await wait_until_reachable(engine)
    await require_migrated(engine)
    return await wait_until_connected()


def main() -> int:
    """Runs a worker as this process. Returns the exit status."""
    return run_command(lambda: run_worker(load_settings()))


if __name__ == "__main__":
    leave(main())
