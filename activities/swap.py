"""The swap: a finished table put live, in one short transaction, tried until it succeeds."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio import activity

from refold.activities.heartbeat import StepActivities
from refold.activities.shadow import alone, locked
from refold.engine.folding.follower import take_follower
from refold.engine.live.late_events import put_right
from refold.engine.step import Step
from refold.errors import SwapRefused
from refold.messages.run.endings import Swapped, SwapSegment
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.runtime.database import autocommit, server_error
from refold.runtime.judgement import refusal, told
from refold.runtime.missing_rights import with_right_named
from refold.runtime.telemetry.metrics import PROJECTION, SWAP_HOLD_SECONDS
from refold.source.head import SettledHead
from refold.source.port.current import event_source
from refold.store import generations, leases, runs
from refold.store.generations import ACTIVE
from refold.store.sessions.silent_sessions import end_sessions, reading_sessions
from refold.store.swap import blockers
from refold.store.swap.blockers import Blocker
from refold.store.swap.locks import (
    LOCK_MILLISECONDS,
    SETTLED_IN_MILLISECONDS,
    VACUUM_MILLISECONDS,
    limit_waiting,
)
from refold.store.swap.swap import (
    CHANGED,
    Swap,
    adopt,
    carry_out,
    lock,
    plan_swap,
    require_none_refused,
)

logger = logging.getLogger(__name__)

# Every so many looks the lock is asked for all the same, as some table may never be free.
_TRY_ANYWAY_EVERY = 20
_PAUSE_SECONDS = (0.05, 0.5)
# Longer than a comparison that computes in the midst of its transaction.
_GRACE_SECONDS = 10.0
# After this time it returns how things stand, so that the progress names who is in the way.
_LONGEST_SECONDS = 3.0


# Somebody has dropped, or made, the live table or what is attached to it since it was looked at.
_MOVED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedObjectError,
    asyncpg.DuplicateTableError,
    asyncpg.DuplicateObjectError,
)


def _looks_changed(refused: asyncpg.PostgresError) -> bool:
    return refused.sqlstate == CHANGED or isinstance(refused, _MOVED)


class _InTheWay(Exception):
    def __init__(self, who: Sequence[Blocker | str], *, refused: bool = False) -> None:
        super().__init__()
        self.who = who
        self.refused = refused


@dataclass
class _Try:
    """One try, and what came of it."""

    number: int
    mark: str
    last: bool = False
    pid: int | None = None
    locked_at: float | None = None

    @property
    def patient(self) -> bool:
        """Whether it stops readers although somebody is in the way."""
        return self.number % _TRY_ANYWAY_EVERY == 0


class SwapActivities(StepActivities):
    """The activity that puts a generation live; see `StepActivities`."""

    @activity.defn
    async def swap_generation(self, segment: SwapSegment) -> Swapped:
        """Tries for some seconds to put the table live; finds it done when it was done before.

        Raises:
            RunEnded: The generation is gone, or the run lost its projection.
            SwapRefused: Something attached to the live table cannot move, and is not waited for
                any longer; or PostgreSQL refuses to move it.
            PoisonEvent: An event of the tail that a handler cannot take.
        """
        plan, projection = await self._planned(segment)
        clock = asyncio.get_running_loop().time
        end = clock() + _LONGEST_SECONDS
        waiting_for: list[str] = []
        refused = False
        number = random.randrange(_TRY_ANYWAY_EVERY)
        async with alone(self._engine, plan) as beat:
            while clock() < end:
                number += 1
                try:
                    attempt = _Try(number, segment.mark, segment.last)
                    return await _whole(self._try(projection, plan, attempt, beat))
                except _InTheWay as blocked:
                    now = [str(one) for one in blocked.who] or ["a lock of others"]
                    refused = blocked.refused
                    beat.show(doing="swapping", waiting_for=now)
                    if now != waiting_for:  # it tries twice a second
                        logger.info("swap of %s waits for %s", plan.projection, "; ".join(now))
                    waiting_for = now
                await asyncio.sleep(random.uniform(*_PAUSE_SECONDS))
        return Swapped(done=False, waiting_for=waiting_for, refused=refused)

    async def _try(self, projection: Projection, plan: Plan, attempt: _Try, beat: Step) -> Swapped:
        beat.show(doing="swapping", lock_timeout_ms=LOCK_MILLISECONDS)
        watcher = asyncio.create_task(self._who_blocks(attempt))
        try:
            return await self._swap(projection, plan, attempt)
        except DBAPIError as error:
            await self._explain(error, await watcher, plan.projection, last=attempt.last)
            raise
        except asyncpg.PostgresError as error:
            await self._explain(error, await watcher, plan.projection, last=attempt.last)
            raise
        finally:
            watcher.cancel()

    async def _explain(
        self, error: Exception, who: list[Blocker], projection: str, *, last: bool
    ) -> None:
        refused = server_error(error)
        if isinstance(refused, (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)):
            raise _InTheWay(who) from error
        if refused is not None and not last and _looks_changed(refused):
            # What is attached to the table has changed, so the swap is planned anew.
            now = f"something else is attached to the live table now: {refusal(refused)}"
            raise _InTheWay([now], refused=True) from error
        if isinstance(refused, asyncpg.SyntaxOrAccessError):
            named = await with_right_named(self._engine, refused)
            raise SwapRefused(
                f"table of {projection!r} cannot be swapped: PostgreSQL refuses to move what hangs "
                f"on it: {told(named)}: remove it, or backfill in place"
            ) from error

    async def _swap(self, projection: Projection, plan: Plan, attempt: _Try) -> Swapped:
        head = await self._head(plan)
        clock = asyncio.get_running_loop().time
        async with self._engine.begin() as connection:
            await limit_waiting(connection, LOCK_MILLISECONDS)
            attempt.pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            await leases.require(connection, plan.run_id)
            known = await locked(connection, plan)
            if known.status == ACTIVE:
                return Swapped(done=True, position=known.position)
            active = await generations.active(connection, projection.name, lock=True)
            position = known.position
            if not plan.stale:
                position = await self._tail(connection, projection, plan, active, head)
            old = active or await adopt(connection, projection)
            swap = await plan_swap(connection, projection, known, old)
            if swap.attachments.fingerprint != attempt.mark and swap.attachments.prepare:
                return Swapped(done=False, changed=True)
            refused = swap.attachments.refused
            if refused and not attempt.last:
                raise _InTheWay(refused, refused=True)
            require_none_refused(refused, projection.table.fullname)
            if swap.temporary:
                raise _InTheWay(swap.temporary)
            await self._lock(connection, swap, attempt)
            attempt.locked_at = clock()
            await carry_out(connection, swap)
        hold = 1000 * (clock() - attempt.locked_at)
        SWAP_HOLD_SECONDS.record(hold / 1000, {PROJECTION: plan.projection})
        logger.info("swapped %s in: readers were locked out for %.1f ms", plan.projection, hold)
        return Swapped(done=True, position=position, hold_milliseconds=round(hold, 1))

    async def _tail(
        self,
        connection: AsyncConnection,
        projection: Projection,
        plan: Plan,
        active: generations.Generation | None,
        head: int,
    ) -> int:
        """Applies what has come since the last segment; returns the checkpoint."""
        follower = await take_follower(connection, projection, plan)
        live = event_source().before
        if active is not None and active.position is not None:
            live = active.position
        # Never swap in what is behind: readers must not see time go backwards. What is brought
        # back after a failure goes no further than that: beyond may be what the run failed at.
        upto = live if plan.brings_back else max(head, live)
        while follower.position < upto:
            events = await follower.apply_batch(connection, upto)
            await runs.add_followed(connection, plan.run_id, events)
        while await put_right(connection, follower):
            pass
        return follower.position

    async def _lock(self, connection: AsyncConnection, swap: Swap, attempt: _Try) -> None:
        """Locks readers out, unless somebody is there who will not give way soon.

        Raises:
            _InTheWay: Somebody is.
        """
        held = await blockers.holders(
            connection, swap.oids, older_than_milliseconds=SETTLED_IN_MILLISECONDS
        )
        if any(one.vacuum for one in held):
            # This lock lets readers pass, and makes the autovacuum worker yield.
            await limit_waiting(connection, VACUUM_MILLISECONDS)
            tables = ", ".join(swap.tables)
            await connection.exec_driver_sql(f"LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE")
            await limit_waiting(connection, LOCK_MILLISECONDS)
        in_the_way = [one for one in held if not one.vacuum]
        if in_the_way:
            await self._end_stopped(connection, swap)
        if in_the_way and not attempt.patient:
            raise _InTheWay(in_the_way)
        await lock(connection, swap)

    async def _end_stopped(self, connection: AsyncConnection, swap: Swap) -> None:
        """Ends sessions of workers that stopped while they read the table which is to go live."""
        target, *_ = swap.oids
        readers = await reading_sessions(connection, target)
        for pid in await end_sessions(
            self._engine, readers, grace_seconds=_GRACE_SECONDS, only_silent=True
        ):
            logger.warning("a stopped worker read the new table: ended its connection (%d)", pid)

    async def _who_blocks(self, attempt: _Try) -> list[Blocker]:
        """Looks at who holds a try up, as long as it waits; the last answer counts."""
        looking = autocommit(self._engine)
        async with looking.connect() as connection:
            for _ in range(10):
                await asyncio.sleep(LOCK_MILLISECONDS / 1000 / 3)
                if attempt.locked_at is not None:
                    return []
                if attempt.pid is not None:
                    who = await blockers.blockers_of(connection, attempt.pid)
                    if who:
                        return who
        return []

    async def _head(self, plan: Plan) -> int:
        head = SettledHead(plan.head)
        looking = autocommit(self._engine)
        async with looking.connect() as connection:
            return await head.poll(connection)


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
