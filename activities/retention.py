"""Retention: replaced generations are kept for a while, then dropped, in a step of its own."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating
from refold.engine.lifecycle.retention import drop_expired
from refold.engine.live.automatic_snapshots import drop_beyond
from refold.messages.run.endings import DropGenerations
from refold.projection.registry import Registry


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
        # Only a worker that has the projection knows how long its generations are kept.
        known = order.projection in self._registry
        policy = self._registry.get(order.projection).backfill if known else None
        async with heartbeating(self._engine, order.run_id):
            dropped = await drop_expired(
                self._engine, order.projection, policy, run_id=order.run_id, also=order.also
            )
            if known:
                # With its table the run has brought snapshots along.
                keep = self._registry.get(order.projection).snapshots.keep_last
                await drop_beyond(self._engine, order.projection, keep, run_id=order.run_id)
        return dropped
