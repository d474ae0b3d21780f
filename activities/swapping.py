"""From a loaded shadow to the live table: indexes, statistics, the swap."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.following import take_follower
from activities.heartbeat import Heartbeat, heartbeating
from refold.database import server_error
from refold.errors import RunEnded
from refold.messages import Plan, Swapped
from refold.projection import Projection
from refold.registry import Registry
from refold.source.head import SettledHead
from refold.store import generations, leases, partitions, read_models, runs, schema
from refold.store.generations import ACTIVE
from refold.store.swap import refuse_attached, swap
from refold.store.takeover import take_over

logger = logging.getLogger(__name__)

# While a swap waits for its lock all readers wait behind it: give up soon and try again.
_LOCK_MILLISECONDS = 200
# An autovacuum worker only yields to a wait longer than deadlock_timeout (1 s): now and then.
_LONG_LOCK_MILLISECONDS, _LONG_EVERY = 1500, 10
_PAUSE_SECONDS = (0.05, 1.0)


class SwapActivities:
    """Activities that finish a shadow and put it live.

    Args:
        engine: The database.
        registry: The projections.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    @activity.defn
    async def build_indexes(self, plan: Plan) -> None:
        """Adds keys and indexes to the loaded shadow, and gives it its first checkpoint.

        Raises:
            RunEnded: The generation is gone.
        """
        projection = self._registry.planned(plan.projection, plan.version)
        async with self._alone(plan), self._engine.begin() as connection:
            generation = await self._locked(connection, plan)
            place = generation.schema_name
            counted = await partitions.counts(connection, plan.run_id)
            if len(counted) != plan.partitions or not all(count.done for count in counted):
                raise RunEnded(
                    f"run {plan.run_id}: expected {plan.partitions} partitions done, found "
                    f"{sum(count.done for count in counted)}: the database has lost them"
                )
            if not await read_models.is_indexed(connection, place, generation.table_name):
                await read_models.add_indexes(connection, projection, place)
            await generations.set_loaded(
                connection, projection.name, plan.generation, plan.position
            )

    @activity.defn
    async def analyze(self, plan: Plan) -> None:
        """Gathers statistics of the shadow, so that readers' plans are good from the start."""
        async with self._alone(plan), self._engine.begin() as connection:
            generation = await self._locked(connection, plan)
            await read_models.analyze(connection, generation.schema_name, generation.table_name)

    @activity.defn
    async def swap_generation(self, plan: Plan) -> Swapped:
        """Puts the shadow in the live table's place; finds it done when it was done before.

        Raises:
            RunEnded: The generation is gone, or the run lost its projection.
            SwapRefused: Something was attached to the live table during the run.
            PoisonEvent: An event of the tail that a handler cannot take.
        """
        projection = self._registry.planned(plan.projection, plan.version)
        async with self._alone(plan) as beat:
            attempt = 0
            while True:
                attempt += 1
                long_try = attempt % _LONG_EVERY == 0
                timeout = _LONG_LOCK_MILLISECONDS if long_try else _LOCK_MILLISECONDS
                beat.show(doing="swapping", attempt=attempt, lock_timeout_ms=timeout)
                try:
                    return await _whole(self._try_swap(projection, plan, timeout))
                except DBAPIError as error:
                    if not isinstance(server_error(error), asyncpg.LockNotAvailableError):
                        raise
                    logger.info("swap of %s: no lock in %d ms", plan.projection, timeout)
                await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))

    @asynccontextmanager
    async def _alone(self, plan: Plan) -> AsyncIterator[Heartbeat]:
        """Heartbeats, after an attempt that was stopped at this generation has been ended."""
        row = generations.row_of(plan.projection, plan.generation)
        async with heartbeating(self._engine, plan.run_id) as beat:
            await take_over(self._engine, schema.generations, row)
            yield beat

    async def _try_swap(
        self, projection: Projection, plan: Plan, lock_milliseconds: int
    ) -> Swapped:
        head = await self._head(plan)
        async with self._engine.begin() as connection:
            await connection.execute(text(f"SET LOCAL lock_timeout = {lock_milliseconds}"))
            await leases.require(connection, plan.run_id)
            known = await self._locked(connection, plan)
            if known.status == ACTIVE:
                assert known.position is not None
                return Swapped(
                    generation=known.generation, retained_generation=None, position=known.position
                )
            active = await generations.active(connection, projection.name, lock=True)
            follower = await take_follower(connection, projection, plan)
            # Never swap in what is behind: readers must not see time go backwards.
            upto = max(head, (active and active.position) or 0)
            while follower.position < upto:
                events = await follower.apply_batch(connection, upto)
                await runs.add_followed(connection, plan.run_id, events)
            await refuse_attached(connection, projection)
            old = await swap(connection, projection, known)
        return Swapped(
            generation=plan.generation,
            retained_generation=old.generation if old else None,
            position=follower.position,
        )

    async def _head(self, plan: Plan) -> int:
        head = SettledHead(plan.position)
        looking = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        async with looking.connect() as connection:
            return await head.poll(connection)

    async def _locked(self, connection: AsyncConnection, plan: Plan) -> generations.Generation:
        found = await generations.get(connection, plan.projection, plan.generation, lock=True)
        if found is None or found.run_id != plan.run_id:
            raise RunEnded(f"generation {plan.generation} of {plan.projection!r} is gone")
        return found


async def _whole(attempt: Coroutine[Any, Any, Swapped]) -> Swapped:
    """Lets an attempt end before a cancellation counts: a swap that was committed is a success."""
    task = asyncio.create_task(attempt)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if task.cancelled() or task.exception() is not None:
            raise
        return task.result()
