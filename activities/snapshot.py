"""Copies of a generation, filled at the checkpoint of their source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from refold.activities.heartbeat import StepActivities
from refold.activities.shadow import alone, locked
from refold.engine.cutover.indexes import add_indexes
from refold.engine.cutover.restored import require_restored
from refold.engine.folding.restored_snapshot import restore_snapshot
from refold.errors import RunEnded
from refold.messages.run.plan import Plan, RunStep
from refold.messages.snapshots import Copied
from refold.projection.declaration import Projection
from refold.store import generations, leases
from refold.store.generations import Generation
from refold.store.snapshots import copies


class SnapshotActivities(StepActivities):
    """The activity that copies a generation; see `StepActivities`."""

    @activity.defn
    async def copy_generation(self, step: RunStep) -> Copied:
        """Fills the plan's generation with the rows and the checkpoint of the one that it copies.

        It does all or nothing, in one transaction. A copy that was made before is left as it is.

        Raises:
            RunEnded: The generation is gone, or the run lost its projection.
            VerificationFailed: The rows of a snapshot that is kept as changes are not what its
                events say.
            SnapshotRejected: `restore` makes no row of what another version's `create` has kept.
        """
        plan, projection = await self._planned(step)
        async with alone(self._engine, plan) as beat, self._transaction(plan) as connection:
            copy = await locked(connection, plan)
            if copy.position is None:
                beat.show(doing="copying the rows", generation=plan.copies)
                await self._copy(connection, projection, plan, copy)
            done = await generations.get(connection, plan.projection, plan.generation)
        assert done is not None
        assert done.position is not None
        return Copied(position=done.position, rows=done.rows or 0)

    @asynccontextmanager
    async def _transaction(self, plan: Plan) -> AsyncIterator[AsyncConnection]:
        """One for a copy by one statement; for more of them, one in which all see one state."""
        async with self._engine.connect() as connection:
            if plan.snapshot is not None:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    async def _copy(
        self, connection: AsyncConnection, projection: Projection, plan: Plan, copy: Generation
    ) -> None:
        source = await generations.get(connection, plan.projection, plan.copies or 0)
        if source is None or source.position is None:
            raise RunEnded(f"generation {plan.copies} of {plan.projection!r} is gone")
        if plan.snapshot is None:
            rows = await copies.fill(connection, projection, copy, source)
        else:
            rows = await restore_snapshot(connection, projection, plan, copy, source)
        await add_indexes(connection, projection, copy, refers=plan.atomic)
        await generations.set_rows(connection, plan.projection, plan.generation, rows)
        if plan.snapshot is not None:
            await require_restored(connection, projection, copy, upto=plan.position, rows=rows)
            # In a transaction of its own: this one cannot see that a lease has been renewed. The
            # lock of the copy keeps whoever ends the run waiting.
            async with self._engine.begin() as other:
                await leases.require(other, plan.run_id)
            return
        # Locked at the end, not before: a lease cannot be renewed while it is locked.
        await leases.require(connection, plan.run_id)
