"""The plugin: Refold's part of a Temporal worker, which may have other workflows beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.plugin import SimplePlugin
from temporalio.worker import ReplayerConfig, Worker, WorkerConfig, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from refold.errors import ConfigurationError
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.payloads.converter import (
    forgiving,
    forgiving_converter,
    with_codec,
    with_pydantic,
)
from refold.runtime.settings import Settings, load_settings
from refold.source.port.current import use_source
from refold.source.port.elsewhere import is_elsewhere
from refold.source.port.requirements import require_keys_seen
from refold.store.checkpoints.stores import CheckpointStores
from refold.store.deployments import queue_of
from refold.worker.assembly import (
    MAX_ACTIVITIES,
    make_activities,
    make_chores,
    make_interceptors,
    most_activities,
)
from refold.worker.chores.caretaker import Caretaker
from refold.worker.chores.presence import Presence
from refold.worker.interceptors.own_activities import Gate, OwnActivities
from refold.worker.interceptors.steps import StepInterceptor
from refold.worker.readiness import wait_until_ready
from refold.worker.versioning import build_of, deployment_of
from refold.worker.webhook import webhook
from refold.workflows.all import VERSIONED, WORKFLOWS

logger = logging.getLogger("refold.worker")

# Activities hear of a cancellation with a heartbeat: people wait no longer than this.
_HEARTBEAT_THROTTLE = timedelta(seconds=1)
# A batch in hand is finished in this time when the worker ends.
_GRACE = timedelta(seconds=30)


@dataclass
class _Part:
    """Refold's part of the workers of one task queue."""

    client: Client
    engine: AsyncEngine
    registry: Registry
    settings: Settings
    stores: CheckpointStores
    gate: Gate


class RefoldPlugin(SimplePlugin):
    """Adds Refold to a worker: ``Client.connect(…, plugins=[RefoldPlugin()])``, or to `Worker`.

    The worker gets Refold's workflows, activities and interceptors, which leave all others alone,
    and sees to Refold's chores while it runs. Client and worker get pydantic's data converter, if
    they have the default one; the sandbox passes the package `refold` through. The worker's task
    queue is the one that requests must name: set REFOLD_TASK_QUEUE to it for the command line.

    What the worker does not say is set: how many activities it takes at a time
    (`max_concurrent_activities`), and 30 seconds for batches in hand when it ends
    (`graceful_shutdown_timeout`). Heartbeats are throttled to one a second at most, and activities
    are not started eagerly.

    A worker whose database does not answer waits with Refold's activities, and works on all others.
    One that cannot work as configured ends with a `RefoldError`.

    Args:
        database_url: PostgreSQL that holds the read models; None for REFOLD_DATABASE_URL.
        projections: Modules to import for projections; None for REFOLD_PROJECTIONS.
        settings: All settings; None for those of the environment, read when a worker is made.
        registry: The projections themselves; None to import those modules.
        engine: Connections to the database, which the plugin leaves open; None for its own.
        chores: Whether the worker sees to the chores, and looks at its database at first.

    Raises:
        RefoldError: When a worker is made: the settings or the projections cannot work.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        projections: Iterable[str] | None = None,
        settings: Settings | None = None,
        registry: Registry | None = None,
        engine: AsyncEngine | None = None,
        chores: bool = True,
    ) -> None:
        super().__init__(
            "refold.RefoldPlugin",
            data_converter=self._converter,
            interceptors=[StepInterceptor()],
            workflows=WORKFLOWS,
            workflow_runner=_passing_refold_through,
        )
        self._given: dict[str, Any] = {}
        if database_url is not None:
            self._given["database_url"] = database_url
        if projections is not None:
            self._given["projections"] = list(projections)
        self._settings = settings
        self._registry = registry
        self._engine = engine
        self._chores = chores
        self._parts: dict[tuple[str, str], _Part] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Adds Refold's part to what a worker is made of; see `SimplePlugin`.

        Raises:
            RefoldError: The settings or the projections cannot work.
        """
        part = self._part_of(config)
        activities = make_activities(
            part.client, part.engine, part.registry, part.settings, part.stores
        )
        names = [activity.__name__ for activity in activities]
        around = make_interceptors(part.engine, part.registry, part.settings)
        config["client"] = part.client
        if config.get("deployment_config") is None:
            config["deployment_config"] = deployment_of(part.settings)
        part.registry.build = build_of(config["deployment_config"])
        build, given = part.registry.build, list(config.get("workflows", []))
        config = super().configure_worker(config)
        if build is not None:  # in place of those without a word about versions
            config["workflows"] = [*given, *VERSIONED]
        config["activities"] = [*config.get("activities", []), *activities]
        config["interceptors"] = [
            *config.get("interceptors", []),
            OwnActivities(names, around, part.gate),
        ]
        if config.get("tuner") is None and config.get("max_concurrent_activities") is None:
            config["max_concurrent_activities"] = most_activities(part.registry, part.settings)
        # Else a worker that has a workflow gets its steps out of turn, and gets those again that
        # it has just left to others.
        config["disable_eager_activity_execution"] = True
        config["max_heartbeat_throttle_interval"] = min(
            config.get("max_heartbeat_throttle_interval", _HEARTBEAT_THROTTLE), _HEARTBEAT_THROTTLE
        )
        config["default_heartbeat_throttle_interval"] = min(
            config.get("default_heartbeat_throttle_interval", _HEARTBEAT_THROTTLE),
            _HEARTBEAT_THROTTLE,
        )
        config["graceful_shutdown_timeout"] = config.get("graceful_shutdown_timeout") or _GRACE
        return config

    def configure_replayer(self, config: ReplayerConfig) -> ReplayerConfig:
        """Adds Refold's part to what replays histories; see `SimplePlugin`."""
        config = super().configure_replayer(config)
        config["data_converter"] = forgiving_converter(config["data_converter"])
        return config

    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:  # noqa: A002
        """Runs a worker to its end, and the chores beside it; see `SimplePlugin`.

        Raises:
            RefoldError: The database can never be worked with as configured, or is not migrated.
        """
        part = self._parts[worker.client.namespace, worker.task_queue]
        if not self._chores:
            try:
                return await super().run_worker(worker, next)
            finally:
                await part.stores.close()
        beside = asyncio.create_task(self._beside(part, worker))
        try:
            await super().run_worker(worker, next)
        finally:
            beside.cancel()
            await asyncio.wait([beside])
            await part.stores.close()
            if self._engine is None:
                await part.engine.dispose()
        if not beside.cancelled() and (error := beside.exception()) is not None:
            raise error
        return None

    def _converter(self, converter: DataConverter | None) -> DataConverter:
        settings = self._settings or load_settings()
        return with_codec(with_pydantic(converter), settings.payload_key_file)

    def _part_of(self, config: WorkerConfig) -> _Part:
        client, task_queue = config["client"], config["task_queue"]
        place = (client.namespace, task_queue)
        if place not in self._parts:
            settings = self._settings or load_settings()
            settings = settings.model_copy(update={**self._given, "task_queue": task_queue})
            registry = self._registry
            if registry is None:
                registry = settings.registry()
            if settings.webhook_url is not None:
                registry.add_system_handler(webhook(settings.webhook_url))
            source = use_source(settings)
            require_keys_seen(source, registry)
            if settings.mirrors and source.is_own and is_elsewhere():
                raise ConfigurationError(
                    "REFOLD_MIRRORS: expected the events beside the read models, as mirrors copy "
                    "to Refold's own table there, got REFOLD_EVENTS_URL: unset one of them"
                )
            stores = CheckpointStores(settings)
            stores.require(registry)
            places = config.get("max_concurrent_activities") or (
                MAX_ACTIVITIES + len(registry) + len(settings.mirrors)
            )
            self._parts[place] = _Part(
                forgiving(client, settings.payload_key_file),
                self._engine or make_engine(settings, activities=places),
                registry,
                settings,
                stores,
                Gate(is_open=not self._chores),
            )
        return self._parts[place]

    async def _beside(self, part: _Part, worker: Worker) -> None:
        try:
            await wait_until_ready(part.engine)
        except Exception:
            # An error before the worker has started would leave `async with` waiting for its end.
            ending = asyncio.create_task(worker.shutdown())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise
        part.gate.is_open = True
        queue = queue_of(part.client.namespace, part.settings.task_queue)
        names = ", ".join(projection.name for projection in part.registry) or "none"
        logger.info("working on task queue %r, projections: %s", part.settings.task_queue, names)
        presence = Presence(part.engine, part.registry, queue)
        chores = make_chores(part.client, part.engine, part.registry, part.settings)
        try:
            await Caretaker(part.engine, [presence, *chores]).work()
        finally:
            with contextlib.suppress(Exception):
                await presence.leave()


def _passing_refold_through(runner: WorkflowRunner | None) -> WorkflowRunner:
    """Refold's modules are imported once, not for each workflow run.

    To import them anew takes as long as a workflow task, and keeps memory for ever. That Refold's
    workflows do the same when replayed is for the tests of replays: there, the sandbox has all of
    their code.
    """
    if runner is None:
        runner = SandboxedWorkflowRunner()
    if not isinstance(runner, SandboxedWorkflowRunner):
        return runner
    return replace(runner, restrictions=runner.restrictions.with_passthrough_modules("refold"))
