"""What a run leaves behind that need not be kept: generations, and snapshots beyond the newest."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle.retention import drop_expired
from refold.engine.live.automatic_snapshots import drop_beyond
from refold.projection.registry import Registry


async def drop_unkept(
    engine: AsyncEngine, registry: Registry, projection: str, *, run_id: str, also: list[int]
) -> list[int]:
    """Drops retained generations beyond their time, as far as they can be dropped now.

    Args:
        engine: The database.
        registry: The projections, for how long each wants its generations kept.
        projection: Whose they are.
        run_id: The run, which holds the projection.
        also: Generations that are dropped whatever their time.

    Returns:
        The generations that were dropped.
    """
    # Only a worker that has the projection knows how long its generations are kept.
    known = projection in registry
    policy = registry.get(projection).backfill if known else None
    dropped = await drop_expired(engine, projection, policy, run_id=run_id, also=also)
    if known:
        # With its table the run has brought snapshots along.
        keep = registry.get(projection).snapshots.keep_last
        await drop_beyond(engine, projection, keep, run_id=run_id)
    return dropped
