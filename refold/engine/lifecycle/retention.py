"""Retention: replaced generations are kept for a while, then dropped."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle.cleanup import drop
from refold.projection.backfill_policy import BackfillPolicy
from refold.runtime.judgement import told
from refold.store import generations, leases
from refold.store.generations import RETAINED, Generation
from refold.store.snapshots import kept

logger = logging.getLogger(__name__)

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
    left: Left = log_left,
) -> list[int]:
    """Drops a projection's retained generations beyond their time.

    One that is locked, or has something attached, stays until a later time; one that snapshots
    need stays for these only, and nobody rolls back to it any more. While another run
    holds the projection nothing is dropped: it may be about to put one of them live.

    Args:
        engine: The database.
        projection: The projection.
        policy: How many are kept, and how long; None for all, for ever.
        run_id: The run that asks; None for the sweeper.
        also: Generations that are dropped whatever their time.
        left: Is told of each one that cannot be dropped now; the log, when left out.
    """
    async with engine.connect() as connection:
        retained = await generations.replaced(connection, projection)
    dropped = []
    for generation in expired(retained, policy, datetime.now(UTC), also):
        try:
            if await _drop(engine, generation, run_id):
                dropped.append(generation.generation)
        except DBAPIError as error:
            left(generation, error)
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
    kept = others[: policy.kept_generations]
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
        if await kept.count(connection, known.projection, known.generation):
            # It goes with the last of its snapshots.
            await generations.set_base(connection, known.projection, known.generation)
            return False
        await drop(connection, known)
        return True
