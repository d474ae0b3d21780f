"""Copies of a generation, filled at the checkpoint of their source."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import place, planned
from refold.activities.shadow import alone, locked
from refold.engine.cutover.indexes import add_indexes
from refold.engine.lifecycle.deployment import Deployment
from refold.errors import RunEnded
from refold.messages.run.plan import Plan, RunStep
from refold.messages.snapshots import Copied
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.settings import PATIENCE_SECONDS
from refold.store import generations, leases, snapshots
from refold.store.generations import Generation


class SnapshotActivities:
    """The activity that copies a generation.

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

    @activity.defn
    async def copy_generation(self, step: RunStep) -> Copied:
        """Fills the plan's generation with the rows and the checkpoint of the one that it copies.

        It does all or nothing, in one transaction. A copy that was made before is left as it is.

        Raises:
            RunEnded: The generation is gone, or the run lost its projection.
        """
        plan, projection = await planned(self._engine, self._deployment, step)
        async with alone(self._engine, plan) as beat, self._engine.begin() as connection:
            copy = await locked(connection, plan)
            if copy.position is None:
                beat.show(doing="copying the rows", generation=plan.copies)
                await self._copy(connection, projection, plan, copy)
            done = await generations.get(connection, plan.projection, plan.generation)
        assert done is not None
        assert done.position is not None
        return Copied(position=done.position, rows=done.rows or 0)

    async def _copy(
        self, connection: AsyncConnection, projection: Projection, plan: Plan, copy: Generation
    ) -> None:
        source = await generations.get(connection, plan.projection, plan.copies or 0)
        if source is None or source.position is None:
            raise RunEnded(f"generation {plan.copies} of {plan.projection!r} is gone")
        rows = await snapshots.fill(connection, projection, copy, source)
        await add_indexes(connection, projection, copy, refers=plan.atomic)
        await generations.set_rows(connection, plan.projection, plan.generation, rows)
        # Locked at the end, not before: a lease cannot be renewed while it is locked.
        await leases.require(connection, plan.run_id)
