"""What activities share: heartbeats that go on while one waits, and what a step goes by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.engine.lifecycle.deployment import Deployment
from refold.engine.lifecycle.plans import plan_of
from refold.engine.step import Place, Step
from refold.messages.run.plan import Plan, RunStep
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.settings import PATIENCE_SECONDS
from refold.runtime.telemetry.logs import about
from refold.store import leases

# A cancellation comes as the answer to a heartbeat.
_LONGEST_SECONDS = 1.0
# Most steps are over sooner: of those nobody need hear, and Temporal has less to write down.
_FIRST_SECONDS = 0.5


_SINCE = "not_on_these_workers_since"


@asynccontextmanager
async def heartbeating(
    engine: AsyncEngine, run_id: str, *, at_once: bool = True
) -> AsyncIterator[Step]:
    """Sends heartbeats in the background until the context ends, and renews the run's lease.

    The database's checkpoints are the truth; heartbeats tell Temporal that somebody is at work,
    tell people what, and bring cancellation.

    Args:
        engine: The database.
        run_id: The run.
        at_once: Begin with a heartbeat, in moments; else the first one comes when the work takes
            long.
    """
    beat = Step(is_stopping=activity.is_worker_shutdown)
    sender = asyncio.create_task(_send(engine, run_id, beat, at_once))
    try:
        yield beat
    finally:
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sender


async def _send(engine: AsyncEngine, run_id: str, beat: Step, at_once: bool) -> None:
    timeout = activity.info().heartbeat_timeout
    every = min(timeout.total_seconds() / 3 if timeout else 3.0, _LONGEST_SECONDS)
    clock = asyncio.get_running_loop().time
    renewed = clock()
    await asyncio.sleep(min(_FIRST_SECONDS, every) if at_once else every)
    while True:
        activity.heartbeat(beat.details)
        await asyncio.sleep(every)
        if clock() - renewed > leases.RENEWED_SECONDS:
            renewed = clock()
            # The work itself finds out when the database is gone; this must not end it.
            with contextlib.suppress(Exception):
                async with engine.begin() as connection:
                    # The work may hold the lease itself, for as long as it copies a table.
                    await connection.execute(text("SET LOCAL lock_timeout = '500ms'"))
                    await leases.renew(connection, run_id)


class StepActivities:
    """Base of activities that need a projection: this worker may lack it, and another have it.

    Args:
        engine: The database.
        registry: The projections.
        patience: How long a step is left to workers that have the projection, in seconds.
    """

    def __init__(
        self, engine: AsyncEngine, registry: Registry, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._engine = engine
        self._deployment = Deployment(engine, registry, place, patience)

    async def _planned(self, step: RunStep) -> tuple[Plan, Projection]:
        """What a step goes by: its run's plan, and the projection in the version that it is for.

        Raises:
            RunEnded: The run has ended, is gone, or has no plan.
            NotOnThisWorker: This worker has no such version.
            NotOnAnyWorker: Nor did any other take the step in time.
        """
        # A first heartbeat would replace what an earlier attempt has left for `place`.
        async with heartbeating(self._engine, step.run_id, at_once=False):
            plan = await plan_of(self._engine, step)
        about(projection=plan.projection)
        return plan, await self._deployment.planned(plan)


def place() -> Place:
    """Where the activity at hand is carried out."""
    info, client = activity.info(), activity.client()
    details = info.heartbeat_details
    before = details[0] if details and isinstance(details[0], dict) else {}
    since = before.get(_SINCE)
    return Place(
        namespace=client.namespace,
        task_queue=info.task_queue,
        worker=client.identity,
        lacking_since=float(since) if isinstance(since, (int, float)) else None,
        note_lacking=lambda seconds: activity.heartbeat({_SINCE: seconds}),
    )
