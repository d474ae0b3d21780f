"""Retention: replaced generations are kept for a while, then dropped, in a step of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.cleanup import drop
from activities.heartbeat import heartbeating
from refold.ending import DropGenerations
from refold.judgement import told
from refold.policy import BackfillPolicy
from refold.registry import Registry
from refold.store import generations, leases
from refold.store.generations import RETAINED, Generation

logger = logging.getLogger(__name__)


class RetentionActivities:
    """The activity that drops what need not be kept any longer.

    Args:
        engine: The database.
        registry: The projections, for how long each wants its generations kept.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    @activity.defn
    async def drop_generations(self, order: DropGenerations) -> list[int]:
        """Drops retained generations beyond their time, as far as they can be dropped now.

        Returns:
            The generations that were dropped.
        """
        # How long they are kept is for a worker to say that has the projection.
        known = order.projection in self._registry
        policy = self._registry.get(order.projection).backfill if known else None
        async with heartbeating(self._engine, order.run_id):
            return await drop_expired(
                self._engine, order.projection, policy, run_id=order.run_id, also=order.also
            )


Left = Callable[[Generation, DBAPIError], None]
"""Is told of a generation that stays for now, and why."""


def log_left(generation: Generation, error: DBAPIError) -> None:
    """Says in the log what stays for now."""
    logger.warning(
        "generation %d of %s stays for now: %s",
        generation.generation,
        generation.projection,
        told(error),
    )


async def drop_expired(
    engine: AsyncEngine,
    projection: str,
    policy: BackfillPolicy | None,
    *,
    run_id: str | None = None,
    also: Collection[int] = (),
    left: Left | None = None,
) -> list[int]:
    """Drops a projection's retained generations beyond their time.

    One that is locked, or that something hangs on, stays until a later time. While another run
    holds the projection nothing is dropped: it may be about to put one of them live.

    Args:
        engine: The database.
        projection: The projection.
        policy: How many are kept, and how long; None for all, for ever.
        run_id: The run that asks; None for the sweeper.
        also: Generations that are dropped whatever their time.
        left: Is told of each one that cannot be dropped now; None for the log.
    """
    async with engine.connect() as connection:
        retained = await generations.replaced(connection, projection)
    dropped = []
    for generation in expired(retained, policy, datetime.now(UTC), also):
        try:
            if await _drop(engine, generation, run_id):
                dropped.append(generation.generation)
        except DBAPIError as error:
            (left or log_left)(generation, error)
    return dropped


def expired(
    retained: list[Generation],
    policy: BackfillPolicy | None,
    now: datetime,
    also: Collection[int] = (),
) -> list[Generation]:
    """Which of the retained generations, the one replaced last first, need not be kept.

    Those in `also` are not counted among the ones to keep.
    """
    if policy is None:
        return [g for g in retained if g.generation in also]
    others = [g for g in retained if g.generation not in also]
    kept = others[: policy.retained_generations]
    if policy.retained_days is not None:
        since = now - timedelta(days=policy.retained_days)
        kept = [g for g in kept if (g.swapped_at or g.created_at) >= since]
    return [g for g in retained if g not in kept]


async def _drop(engine: AsyncEngine, generation: Generation, run_id: str | None) -> bool:
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL lock_timeout = '2s'"))
        known = await generations.get(
            connection, generation.projection, generation.generation, lock=True
        )
        # Under the lock: a rollback takes its lease first, then locks what it goes back to.
        lease = await leases.holder(connection, generation.projection)
        if lease is not None and lease.run_id != run_id:
            return False
        if known is None or known.status != RETAINED:
            return False
        await drop(connection, known)
        return True
