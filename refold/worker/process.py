"""A worker as a process: from its start to the last batch in hand."""

from __future__ import annotations

import asyncio
import logging
import signal

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker

from refold.errors import RefoldError
from refold.runtime.allocator import keep_little
from refold.runtime.command import FAILED, run_command
from refold.runtime.database import make_engine
from refold.runtime.garbage import calm_garbage_collector
from refold.runtime.settings import Settings, load_settings
from refold.runtime.telemetry.metrics import set_up_metrics
from refold.runtime.temporal.client import wait_until_connected
from refold.store.checkpoints.stores import CheckpointStores
from refold.worker.assembly import MAX_ACTIVITIES
from refold.worker.health import Health
from refold.worker.plugin import RefoldPlugin
from refold.worker.processes.mortality import die_with
from refold.worker.processes.place import supervisor
from refold.worker.processes.supervisor import CANNOT_WORK, Supervisor
from refold.worker.readiness import wait_until_ready

logger = logging.getLogger("refold.worker")

# The partitions of a run come at once, and go to whoever polls: with the SDK's five polls one of
# two processes gets all four now and then, and three of them half of the time. Python folds on one
# core, so that such a run takes as long as with one process.
_POLLS = 2


async def run_worker(settings: Settings) -> None:
    """Works until SIGINT or SIGTERM, then finishes the batches in hand.

    Raises:
        RefoldError: The settings, the projections or the database's schema cannot work.
    """
    keep_little()
    set_up_metrics()
    registry = settings.registry()
    CheckpointStores(settings).require(registry)  # at once, whether or not the database is there
    engine = make_engine(settings, activities=MAX_ACTIVITIES + len(registry))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = Health()
    if settings.health_port is not None:
        await health.serve(settings.health_port)
    ready = asyncio.create_task(_get_ready(engine))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([ready, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            return
        client = ready.result()
        calm_garbage_collector()
        plugin = RefoldPlugin(settings=settings, registry=registry, engine=engine)
        async with worker_of(client, settings, plugin):
            health.not_ready = None
            await stopped
            health.not_ready = "it finishes its batches, to end"
            logger.info("stopping: finishing the batches in hand")
    finally:
        health.close()
        ready.cancel()
        stopped.cancel()
        await engine.dispose()


def worker_of(client: Client, settings: Settings, plugin: RefoldPlugin) -> Worker:
    """The worker that is all of this process."""
    return Worker(
        client,
        task_queue=settings.task_queue,
        plugins=[plugin],
        activity_task_poller_behavior=PollerBehaviorSimpleMaximum(_POLLS),
    )


async def _get_ready(engine: AsyncEngine) -> Client:
    await wait_until_ready(engine)
    return await wait_until_connected()


async def _run(processes: int | None) -> None:
    settings = load_settings()
    count = settings.worker_processes if processes is None else processes
    if count == 1:
        return await run_worker(settings)
    logger.info("keeping %d worker processes up", count)
    return await Supervisor(count).run()


def main(processes: int | None = None) -> int:
    """Runs a worker as this process, or keeps several up. Returns the exit status.

    Args:
        processes: How many; what REFOLD_WORKER_PROCESSES says when left out.
    """
    parent = supervisor()
    if parent is None:
        return run_command(lambda: _run(processes))
    die_with(parent)
    return _run_as_one_of_several()


def _run_as_one_of_several() -> int:
    """The exit status tells the supervisor whether it is of any use to try again."""
    status = FAILED

    async def run() -> None:
        nonlocal status
        try:
            await run_worker(load_settings())
        except RefoldError as error:
            if not error.retryable:
                status = CANNOT_WORK
            raise

    return run_command(run) and status
