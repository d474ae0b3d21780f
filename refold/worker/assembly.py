"""What Refold's part of a worker is made of: activities, what stands around them, chores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Interceptor

from refold.activities.delivery import DeliveryActivities
from refold.activities.follow import FollowActivities
from refold.activities.lifecycle import LifecycleActivities
from refold.activities.live import LiveActivities
from refold.activities.mirror import MirrorActivities
from refold.activities.plan import PlanningActivities
from refold.activities.refold import RefoldActivities
from refold.activities.retention import RetentionActivities
from refold.activities.shadow import ShadowActivities
from refold.activities.snapshot import SnapshotActivities
from refold.activities.swap import SwapActivities
from refold.activities.system_events import SystemEventActivities
from refold.activities.verification import VerifyActivities
from refold.engine.live.apart import Storage
from refold.manager.publication import publish
from refold.projection.registry import Registry
from refold.runtime.settings import Settings
from refold.runtime.telemetry.metrics import are_wanted
from refold.store.checkpoints.stores import CheckpointStores
from refold.worker.chores.auto_start import AutoStart
from refold.worker.chores.chore import Chore
from refold.worker.chores.dispatch import Dispatch
from refold.worker.chores.garbage import Garbage
from refold.worker.chores.gauges import Gauges
from refold.worker.chores.history import History
from refold.worker.chores.retention import Retention, SnapshotRetention
from refold.worker.chores.stalls import Stalls
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from refold.worker.interceptors.call_limit import CallLimit
from refold.worker.interceptors.failures import FailureInterceptor
from refold.worker.interceptors.logs import LogInterceptor
from refold.worker.interceptors.waits import WaitInterceptor

# Beside those that follow live projections, which keep a place each.
MAX_ACTIVITIES = 10


def make_activities(
    client: Client,
    engine: AsyncEngine,
    registry: Registry,
    settings: Settings,
    stores: CheckpointStores,
) -> list[Callable[..., Any]]:
    """All activities.

    Args:
        client: Of the Temporal server.
        engine: The database.
        registry: The projections.
        settings: For the task queue and the lengths of things.
        stores: Where live checkpoints may be.
    """
    storage = Storage(stores)
    patience = settings.deployment_seconds
    executions = TemporalExecutions(client)
    planning = PlanningActivities(engine, registry, settings, executions, storage)
    snapshotting = SnapshotActivities(engine, registry, patience)
    refolding = RefoldActivities(engine, registry, settings)
    following = FollowActivities(engine, registry, settings)
    shadowing = ShadowActivities(engine, registry, patience)
    verification = VerifyActivities(engine, registry, patience)
    swapping = SwapActivities(engine, registry, patience)
    retention = RetentionActivities(engine, registry)
    lifecycle = LifecycleActivities(engine, registry, planning.listing)
    live = LiveActivities(engine, registry, storage, patience)
    mirroring = MirrorActivities(engine, settings, executions)
    recording = SystemEventActivities(engine)
    delivery = DeliveryActivities(
        engine,
        registry,
        lambda event, key: publish(client, engine, event, task_queue=settings.task_queue, key=key),
    )
    return [
        planning.begin_run,
        planning.plan_with_keys,
        planning.begin_rollback,
        planning.begin_snapshot,
        snapshotting.copy_generation,
        planning.compute_keys,
        refolding.refold_segment,
        following.follow_segment,
        shadowing.build_indexes,
        verification.verify_generation,
        shadowing.prepare_swap,
        swapping.swap_generation,
        retention.drop_generations,
        live.follow_live,
        mirroring.copy_events,
        mirroring.end_mirror,
        recording.record_system_event,
        recording.read_system_events,
        delivery.next_deliveries,
        delivery.handle_system_event,
        delivery.give_up_delivery,
        lifecycle.watch_progress,
        lifecycle.control_run,
        lifecycle.find_plan,
        lifecycle.finish_run,
    ]


def make_interceptors(
    engine: AsyncEngine, registry: Registry, settings: Settings
) -> list[Interceptor]:
    """What stands around these activities, from the outermost to the innermost."""
    return [
        LogInterceptor(),
        FailureInterceptor(engine),
        WaitInterceptor(engine, registry),
        CallLimit(settings.handler_seconds),
    ]


def most_activities(registry: Registry, settings: Settings) -> int:
    """How many activities a worker takes at a time when nobody says otherwise.

    Each handler of each projection has a place: one that hangs takes no other's. So has a mirror.
    """
    handlers = sum(len(registry.system_handlers(projection.name)) for projection in registry)
    return MAX_ACTIVITIES + len(registry) + handlers + len(settings.mirrors)


def make_chores(
    client: Client, engine: AsyncEngine, registry: Registry, settings: Settings
) -> list[Chore]:
    """What a worker sees to beside its activities; `Caretaker` runs it."""
    return [
        Stalls(engine),
        Sweep(engine, TemporalExecutions(client)),
        Retention(engine, registry),
        SnapshotRetention(engine, registry),
        History(engine, settings),
        Dispatch(engine, client, registry, settings.task_queue),
        AutoStart(engine, client, registry, settings.task_queue),
        Garbage(),
        *([Gauges(engine, client, registry)] if are_wanted() else []),
    ]
