"""ProjectionManager: all that can be asked of projections from Python, in one class."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from temporalio.client import Client

from refold.errors import AlreadyRunning, NoRun, NotAwaited, RunFailed
from refold.manager.checkpoints import Checkpoints
from refold.manager.connection import Connection
from refold.manager.controls import Controls
from refold.manager.current_runs import CurrentRuns
from refold.manager.dead_letters import DeadLetters
from refold.manager.delegation import Delegate
from refold.manager.health import Health
from refold.manager.live import LiveProjections
from refold.manager.mirroring.mirrors import Mirrors
from refold.manager.rows.explanation import Explanations
from refold.manager.run.started_run import StartedRun
from refold.manager.runs import Runs
from refold.manager.schedules import Schedules
from refold.manager.snapshots import Snapshots
from refold.manager.system_events import SystemEvents
from refold.messages.run.life import Progress

__all__ = [
    "AlreadyRunning",
    "NoRun",
    "NotAwaited",
    "ProjectionManager",
    "RunFailed",
    "StartedRun",
]

_runs = Delegate[Runs]("_runs")
_current_runs = Delegate[CurrentRuns]("_current_runs")
_controls = Delegate[Controls]("_controls")
_live = Delegate[LiveProjections]("_live")
_health = Delegate[Health]("_health")
_checkpoints = Delegate[Checkpoints]("_checkpoints")
_snapshots = Delegate[Snapshots]("_snapshots")
_schedules = Delegate[Schedules]("_schedules")
_dead_letters = Delegate[DeadLetters]("_dead_letters")
_system_events = Delegate[SystemEvents]("_system_events")
_mirrors = Delegate[Mirrors]("_mirrors")
_explanations = Delegate[Explanations]("_explanations")


class ProjectionManager:
    """Starts, watches and cancels runs; starts and stops live projections; keeps snapshots.

    It keeps up to two connections to the database, for its life in one event loop: `close` gives
    them back, or ``async with ProjectionManager(…) as manager``.

    Args:
        client: A Temporal client.
        database_url: PostgreSQL with Refold's schema; it is asked which run holds a projection,
            and how projections stand. None to go by the default workflow ids only.
        task_queue: The task queue of Refold's workers.
        tenant_path: Where an event names its tenant, as workers have it in REFOLD_TENANT_PATH; for
            what is asked tenant by tenant.
    """

    def __init__(
        self,
        client: Client,
        database_url: str | None = None,
        *,
        task_queue: str = "refold",
        tenant_path: str | None = None,
    ) -> None:
        self._connection = connection = Connection(
            client, database_url, task_queue=task_queue, tenant_path=tenant_path
        )
        self._runs = runs = Runs(connection)
        self._current_runs = current_runs = CurrentRuns(connection)
        self._controls = Controls(connection, current_runs)
        self._live = live = LiveProjections(connection)
        self._health = Health(connection, live)
        self._checkpoints = Checkpoints(connection, runs)
        self._snapshots = Snapshots(connection, runs)
        self._schedules = Schedules(connection, runs)
        self._dead_letters = DeadLetters(connection, runs)
        self._system_events = SystemEvents(connection)
        self._mirrors = Mirrors(connection)
        self._explanations = Explanations(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def require_known(self, name: str) -> None:
        """Requires that there is a projection of that name, as each method does that names one.

        It was ever built, or a worker has shown within a day that it has it. Without a database,
        and before any worker has shown itself, nobody knows, and nothing is refused here.

        Raises:
            UnknownProjection: There is none; the message names those that there are.
        """
        await self._connection.require_known(name)

    async def close(self) -> None:
        """Closes the connections to the database; the next call that needs some opens new ones."""
        await self._connection.close()

    # -- runs: started, and waited for -------------------------------------------------------

    backfill = _runs(Runs.backfill)
    rebuild = _runs(Runs.rebuild)
    start_backfill = _runs(Runs.start_backfill)
    start_rebuild = _runs(Runs.start_rebuild)
    rollback_projection = _runs(Runs.rollback_projection)
    start_rollback = _runs(Runs.start_rollback)
    plan = _runs(Runs.plan)
    result = _runs(Runs.result)

    # -- the run at hand ---------------------------------------------------------------------

    current_run = _current_runs(CurrentRuns.current_run)
    get_progress = _current_runs(CurrentRuns.get_progress)
    get_diff = _current_runs(CurrentRuns.get_diff)

    async def get_backfill_progress(self, name: str) -> AsyncIterator[Progress]:
        """The progress of the projection's run, every half second until the end.

        The run may have begun before the call. While no worker is there to answer, nothing comes.

        Raises:
            NoRun: No run of the projection is known.
            UnknownProjection: There is no projection of that name.
        """
        await self.require_known(name)
        async for progress in self._current_runs.get_backfill_progress(name):
            yield progress

    def watch(self, run: StartedRun) -> AsyncIterator[Progress]:
        """The progress of a run, every half second until the end."""
        return self._current_runs.watch(run)

    approve = _controls(Controls.approve)
    reject = _controls(Controls.reject)
    cancel_backfill = _controls(Controls.cancel_backfill)
    pause = _controls(Controls.pause)
    resume = _controls(Controls.resume)
    set_limits = _controls(Controls.set_limits)

    # -- live projections --------------------------------------------------------------------

    start = _live(LiveProjections.start)
    restart = _live(LiveProjections.restart)
    stop = _live(LiveProjections.stop)
    get_status = _live(LiveProjections.get_status)

    # -- how projections are -----------------------------------------------------------------

    get_health = _health(Health.get_health)
    get_failing_steps = _health(Health.get_failing_steps)
    get_all_projections = _health(Health.get_all_projections)
    has_workers = _health(Health.has_workers)

    # -- checkpoints and snapshots -----------------------------------------------------------

    get_current_checkpoint = _checkpoints(Checkpoints.get_current_checkpoint)
    get_checkpoint_place = _checkpoints(Checkpoints.get_checkpoint_place)
    reset_checkpoint = _checkpoints(Checkpoints.reset_checkpoint)
    start_reset = _checkpoints(Checkpoints.start_reset)

    create_snapshot = _snapshots(Snapshots.create_snapshot)
    start_snapshot = _snapshots(Snapshots.start_snapshot)
    get_snapshots = _snapshots(Snapshots.get_snapshots)
    read_snapshot = _snapshots(Snapshots.read_snapshot)
    restore_from_snapshot = _snapshots(Snapshots.restore_from_snapshot)
    start_restore = _snapshots(Snapshots.start_restore)
    drop_snapshot = _snapshots(Snapshots.drop_snapshot)

    # -- schedules --------------------------------------------------------------------------

    add_schedule = _schedules(Schedules.add_schedule)
    get_schedules = _schedules(Schedules.get_schedules)
    remove_schedule = _schedules(Schedules.remove_schedule)

    # -- dead letters ------------------------------------------------------------------------

    get_dead_letters = _dead_letters(DeadLetters.get_dead_letters)
    retry_dead_letters = _dead_letters(DeadLetters.retry_dead_letters)
    skip_dead_letters = _dead_letters(DeadLetters.skip_dead_letters)
    start_retry = _dead_letters(DeadLetters.start_retry)

    # -- rows --------------------------------------------------------------------------------

    explain = _explanations(Explanations.explain)

    # -- system events -----------------------------------------------------------------------

    publish = _system_events(SystemEvents.publish)
    get_system_events = _system_events(SystemEvents.get_system_events)

    # -- mirrors -----------------------------------------------------------------------------

    start_mirror = _mirrors(Mirrors.start_mirror)
    pause_mirror = _mirrors(Mirrors.pause_mirror)
    resume_mirror = _mirrors(Mirrors.resume_mirror)
    cancel_mirror = _mirrors(Mirrors.cancel_mirror)
    set_mirror_limits = _mirrors(Mirrors.set_mirror_limits)
    get_mirrors = _mirrors(Mirrors.get_mirrors)
