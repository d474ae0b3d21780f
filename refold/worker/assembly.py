"""What a worker is made of: all workflows, all activities, and what stands around them."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import Worker, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from refold.activities.delivery import DeliveryActivities
from refold.activities.follow import FollowActivities
from refold.activities.lifecycle import LifecycleActivities
from refold.activities.live import LiveActivities
from refold.activities.plan import PlanningActivities
from refold.activities.refold import RefoldActivities
from refold.activities.retention import RetentionActivities
from refold.activities.rollback import RollbackActivities
from refold.activities.shadow import ShadowActivities
from refold.activities.snapshot import SnapshotActivities
from refold.activities.swap import SwapActivities
from refold.activities.system_events import SystemEventActivities
from refold.activities.verification import VerifyActivities
from refold.manager.publication import publish
from refold.projection.registry import Registry
from refold.runtime.payloads import forgiving
from refold.runtime.settings import Settings
from refold.worker.chores.auto_start import AutoStart
from refold.worker.chores.chore import Chore
from refold.worker.chores.dispatch import Dispatch
from refold.worker.chores.history import History
from refold.worker.chores.retention import Retention, SnapshotRetention
from refold.worker.chores.stalls import Stalls
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from refold.worker.interceptors.call_limit import CallLimit
from refold.worker.interceptors.failures import FailureInterceptor
from refold.worker.interceptors.steps import StepInterceptor
from refold.worker.interceptors.waits import WaitInterceptor
from refold.workflows.all import WORKFLOWS

# Beside those that follow live projections, which keep a place each.
MAX_ACTIVITIES = 10
# Cancellation comes with a heartbeat: whoever stops something waits no longer than this.
_HEARTBEAT_THROTTLE = timedelta(seconds=1)
_GRACE = timedelta(seconds=30)
# Not each workflow has classes of its own: making them takes as long as a task, and room for ever.
# That workflows do nothing that is not the same when replayed, the tests of replays see to: there,
# all of their code is in the sandbox.
RESTRICTIONS = SandboxRestrictions.default.with_passthrough_modules("refold")


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
    executions = TemporalExecutions(client)
    planning = PlanningActivities(engine, registry, settings, executions)
    rolling_back = RollbackActivities(engine, registry, settings, executions)
    snapshotting = SnapshotActivities(engine, registry, settings, executions)
    refolding = RefoldActivities(engine, registry, settings)
    following = FollowActivities(engine, registry, settings)
    shadowing = ShadowActivities(engine, registry, patience)
    verification = VerifyActivities(engine, registry, patience)
    swapping = SwapActivities(engine, registry, patience)
    retention = RetentionActivities(engine, registry)
    lifecycle = LifecycleActivities(engine)
    live = LiveActivities(engine, registry, patience)
    recording = SystemEventActivities(engine)
    delivery = DeliveryActivities(
        engine,
        registry,
        lambda event, key: publish(client, engine, event, task_queue=settings.task_queue, key=key),
    )
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
        Sweep(engine, TemporalExecutions(client)),
        Retention(engine, registry),
        SnapshotRetention(engine, registry),
        History(engine, settings),
        Dispatch(engine, client, registry, settings.task_queue),
        AutoStart(engine, client, registry, settings.task_queue),
    ]


def _handled_at_once(registry: Registry) -> int:
    """A place for each handler of each projection: one that hangs takes nobody else's."""
    return sum(len(registry.system_handlers(projection.name)) for projection in registry)
