"""From a loaded shadow to one that can go live: keys, indexes, attachments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from refold.activities.heartbeat import StepActivities, heartbeating
from refold.engine.cutover.indexes import Indexing, note_what_it_is
from refold.engine.step import Step
from refold.errors import RunEnded
from refold.messages.run.endings import Prepared
from refold.messages.run.plan import Plan, RunStep
from refold.runtime.database import autocommit
from refold.source.head import SettledHead
from refold.store import generations, partitions, schema
from refold.store.generations import Generation
from refold.store.sessions.takeover import take_over
from refold.store.swap import blockers
from refold.store.swap.swap import prepare
from refold.store.tables import read_models

# Readers with older snapshots are waited for this long, then left to themselves.
_SNAPSHOT_SECONDS = 10.0
_LOOK_SECONDS = 0.1
# So many are left to the swap, which applies them with each of its tries, at whatever speed.
_FEW_EVENTS = 50


class ShadowActivities(StepActivities):
    """Activities that make a loaded table ready to be swapped in; see `StepActivities`."""

    @activity.defn
    async def build_indexes(self, step: RunStep) -> None:
        """Adds keys and indexes to the loaded shadow, and gives it its first checkpoint.

        Raises:
            RunEnded: The generation is gone.
            PoisonEvent: A row is refused, and its event is not set aside.
        """
        plan, projection = await self._planned(step)
        async with alone(self._engine, plan), self._engine.begin() as connection:
            generation = await locked(connection, plan)
            place = generation.schema_name
            counted = await partitions.counts(connection, plan.run_id)
            if len(counted) != plan.partitions or not all(count.done for count in counted):
                raise RunEnded(
                    f"run {plan.run_id}: expected {plan.partitions} partitions done, found "
                    f"{sum(count.done for count in counted)}: the database has lost them"
                )
            if not await read_models.is_indexed(connection, place, generation.table_name):
                await Indexing(connection, plan, projection, generation).add_all()
                await note_what_it_is(connection, projection, generation)
            await generations.set_loaded(
                connection, projection.name, plan.generation, plan.position
            )

    @activity.defn
    async def prepare_swap(self, step: RunStep) -> Prepared:
        """Gives the table what can be given before the swap, and gathers its statistics.

        Then waits, for a bounded time, for readers whose snapshots are older than its rows: in
        their eyes the table is empty.

        Raises:
            RunEnded: The generation is gone.
            SwapRefused: PostgreSQL refuses to give the table what is attached to the live one.
        """
        plan, projection = await self._planned(step)
        async with alone(self._engine, plan) as beat:
            async with self._engine.begin() as connection:
                generation = await locked(connection, plan)
                old = await generations.active(connection, plan.projection)
                swap = await prepare(
                    connection, projection, generation, old, show=lambda one: beat.show(doing=one)
                )
            async with self._engine.begin() as connection:
                generation = await locked(connection, plan)
                await read_models.analyze(connection, generation.schema_name, generation.table_name)
                older_than = await blockers.horizon(connection)
            looking = autocommit(self._engine)
            async with looking.connect() as connection:
                await self._wait_for_snapshots(connection, older_than, beat)
                few_left = await _few_left(connection, plan, generation.position)
        return Prepared(mark=swap.attachments.fingerprint, few_left=few_left)

    async def _wait_for_snapshots(self, connection: AsyncConnection, mark: str, beat: Step) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + _SNAPSHOT_SECONDS
        while clock() < end:
            older = await blockers.older_snapshots(connection, mark)
            if not older:
                return
            beat.show(waiting_for=[f"an older snapshot of {one}" for one in older])
            await asyncio.sleep(_LOOK_SECONDS)


async def _few_left(connection: AsyncConnection, plan: Plan, position: int | None) -> bool:
    """Whether few events are left up to the head: there is one at most for a position."""
    if position is None or plan.brings_back:
        return False
    head = SettledHead(plan.head)
    await head.poll(connection)
    # Who follows waits for those that are about to commit.
    return head.position - position <= _FEW_EVENTS and not head.waiting_for


@asynccontextmanager
async def alone(engine: AsyncEngine, plan: Plan) -> AsyncIterator[Step]:
    """Heartbeats, after an attempt that was stopped at this generation has been ended."""
    row = generations.row_of(plan.projection, plan.generation)
    async with heartbeating(engine, plan.run_id) as beat:
        await take_over(engine, schema.generations, row)
        yield beat


async def locked(connection: AsyncConnection, plan: Plan) -> Generation:
    """The generation that the plan puts live, against any change by others.

    Raises:
        RunEnded: It is gone.
    """
    found = await generations.get(connection, plan.projection, plan.generation, lock=True)
    mine = found is not None and (
        found.status in (generations.RETAINED, generations.ACTIVE)
        if plan.restores
        else found.run_id == plan.run_id and found.status != generations.DISCARDED
    )
    if found is None or not mine:
        raise RunEnded(f"generation {plan.generation} of {plan.projection!r} is gone")
    return found
