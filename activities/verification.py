"""Verification: what the new table changes, at one position on both sides."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from refold.activities.heartbeat import StepActivities
from refold.activities.shadow import alone
from refold.engine.cutover.verification import SAMPLED_KEYS, verify
from refold.engine.folding.follower import take_follower
from refold.engine.keying.computing import reach
from refold.engine.live.late_events import put_right
from refold.errors import VerificationFailed
from refold.messages.run.diff import Diff
from refold.messages.run.plan import Plan, RunStep
from refold.projection.declaration import Projection
from refold.projection.key import Key
from refold.runtime.database import autocommit
from refold.store import generations, runs, selected_keys
from refold.store.side_keys.tables import SideTable, side_table
from refold.store.tables import read_models


class VerifyActivities(StepActivities):
    """The activity that compares a shadow with the live table; see `StepActivities`."""

    @activity.defn
    async def verify_generation(self, step: RunStep) -> Diff:
        """Compares the shadow with the live table, and folds a sample of keys again.

        What was found is kept with the run: a run that is verified already answers with it.

        Raises:
            VerificationFailed: A key folded again gives another row than the shadow has.
            RunEnded: The generation is gone.
        """
        plan, projection = await self._planned(step)
        async with alone(self._engine, plan) as beat:
            looking = autocommit(self._engine)
            async with looking.connect() as connection:
                run = await runs.get(connection, plan.run_id)
            if run is not None and run.diff is not None:
                return Diff.model_validate(run.diff)
            beat.show(doing="comparing the new table with the live one")
            diff = await self._compare(projection, plan)
            if diff.folded_wrong:
                raise VerificationFailed(
                    f"projection {plan.projection!r}: expected the same rows when keys are folded "
                    f"again, but {diff.folded_wrong} of {diff.folded_again} differ: a handler that "
                    "is not pure (time, randomness, other state) would do that"
                )
            async with self._engine.begin() as connection:
                await runs.set_diff(connection, plan.run_id, diff.model_dump(mode="json"))
                await generations.set_rows(
                    connection, plan.projection, plan.generation, diff.rows_shadow
                )
            return diff

    async def _compare(self, projection: Projection, plan: Plan) -> Diff:
        """Brings the shadow to the live table's checkpoint and compares in one snapshot of both.

        A shadow that goes live without the events since stays where it is.
        """
        snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ")
        async with snapshots.connect() as comparing:
            async with self._engine.begin() as connection:
                # Held until the snapshot is taken, no longer: the live follower waits for it.
                live = await generations.active(connection, plan.projection, lock=True)
                if not plan.stale and live is not None and live.position is not None:
                    await self._catch_up(plan, live.position)
                side = await self._written(projection, plan)
                await comparing.execute(text("SELECT 1"))
            shadow = await generations.get(comparing, plan.projection, plan.generation)
            live = await generations.active(comparing, plan.projection)
            assert shadow is not None
            assert shadow.position is not None
            schema = await read_models.live_schema(comparing, projection)
            return await verify(
                comparing,
                projection,
                shadow=shadow,
                live=live,
                live_table_schema=schema,
                position=shadow.position,
                keys=await self._repaired(comparing, projection, plan),
                side=side,
            )

    async def _written(self, projection: Projection, plan: Plan) -> SideTable | None:
        """Where the keys of a function are, up to the shadow's checkpoint; None for nowhere."""
        if not plan.is_keyed:
            return None
        side = side_table(projection, plan.run_id)
        async with self._engine.connect() as connection:
            async with connection.begin():
                shadow = await generations.get(connection, plan.projection, plan.generation)
            assert shadow is not None
            assert shadow.position is not None
            there = await reach(connection, side, plan, projection, shadow.position)
        return side if there else None

    async def _repaired(
        self, connection: AsyncConnection, projection: Projection, plan: Plan
    ) -> list[Key] | None:
        """Some of the keys that were repaired, if not all were: the others are as they were."""
        if plan.selection is None:
            return None
        paths = projection.key_paths
        if paths is None:
            paths = side_table(projection, plan.run_id).parts
        return await selected_keys.sample(connection, paths, plan.run_id, most=2 * SAMPLED_KEYS)

    async def _catch_up(self, plan: Plan, upto: int) -> None:
        projection = await self._deployment.planned(plan)
        async with self._engine.begin() as connection:
            follower = await take_follower(connection, projection, plan)
            while follower.position < upto:
                events = await follower.apply_batch(connection, upto)
                await runs.add_followed(connection, plan.run_id, events)
            while await put_right(connection, follower):
                pass
