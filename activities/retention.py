"""Retention: replaced generations are kept for a while, then dropped, in a step of its own."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import heartbeating
from refold.engine.live.unkept import drop_unkept
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
        async with heartbeating(self._engine, order.run_id):
            return await drop_unkept(
                *(self._engine, self._registry, order.projection),
                run_id=order.run_id,
                also=order.also,
            )
