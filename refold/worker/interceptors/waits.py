"""Who holds an activity up, and what is going to stop its run's swap: told to its workflow."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from refold.engine.lifecycle.plans import plan_of
from refold.engine.step import WAITING, Waiting
from refold.messages.run.life import FollowSegment
from refold.messages.run.plan import Plan, RunStep
from refold.messages.step_failures import step_name
from refold.messages.step_waits import SIGNAL, StepWaits
from refold.projection.registry import Registry
from refold.runtime.database import add_checkout_listener, autocommit
from refold.runtime.telemetry.metrics import LOCK_WAIT_SECONDS, STEP
from refold.runtime.threads import LASTING
from refold.source.port.elsewhere import events_engine
from refold.store.swap import blockers
from refold.store.swap.swap import obstacles

logger = logging.getLogger(__name__)

# A wait that is over sooner is not worth a word.
_LOOK_SECONDS = 1.0
# Most steps are over before anybody need look.
_FIRST_LOOK_SECONDS = 0.2
_LOOK_AT_TABLE_SECONDS = 3.0
# What this process has told of a run so long ago may not be the latest word of it any more.
_FRESH_SECONDS = 10.0
_REMEMBERED = 1_000
_RPC_TIMEOUT = timedelta(seconds=2)

# While these are at work, the live table is looked at: the others are over soon, or swap.
_LOOKING = ("copy_generation", "refold_segment", "build_indexes", "verify_generation")
_LOOKING_FIRST = ("follow_segment",)


@dataclass
class _Seen:
    """What this process has found of a run's live table."""

    mark: str
    obstacles: list[str]
    looked_at: float
    told_at: float


class WaitInterceptor(Interceptor):
    """Looks at the sessions of each activity, and at the live table of a run that will swap.

    Args:
        engine: The database that the activities work on.
        registry: The projections.
    """

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._looking = autocommit(engine)
        self._registry = registry
        self._seen: dict[str, _Seen] = {}
        self._plans: dict[str, Plan] = {}
        self._there = events_engine(engine)
        _note_sessions(engine, "sessions")
        if self._there is not engine:
            _note_sessions(self._there, "reading")

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wraps the chain."""
        return _Inbound(next, self)

    def watch(self, arguments: Sequence[Any], waiting: Waiting) -> _Watch:
        """What looks at the activity at hand."""
        return _Watch(self, arguments, waiting)

    async def blocked_by(self, waiting: Waiting) -> list[str]:
        """Who holds sessions of ours up."""
        found: list[str] = []
        if waiting.sessions:
            async with self._looking.connect() as connection:
                found += map(str, await blockers.blockers_of(connection, *waiting.sessions))
        if waiting.reading:
            there = autocommit(self._there)
            async with there.connect() as connection:
                of_events = await blockers.blockers_of(connection, *waiting.reading)
            found += [f"{one}, in the database of the events" for one in of_events]
        return found

    async def plan_to_swap(self, step: RunStep) -> Plan | None:
        """The run's plan, if it is one that will swap in what it builds."""
        plan = self._plans.get(step.run_id)
        if plan is None:
            plan = self._plans[step.run_id] = await plan_of(self._looking, step)
            while len(self._plans) > _REMEMBERED:
                del self._plans[next(iter(self._plans))]
        return plan if plan.atomic and not plan.restores else None

    async def found(self, plan: Plan) -> list[str] | None:
        """What would stop the run's swap now; None when the workflow need not be told."""
        seen, now = self._seen.get(plan.run_id), time.monotonic()
        if seen is not None and now - seen.looked_at < _LOOK_AT_TABLE_SECONDS:
            return None
        projection = self._registry.planned(plan.projection, plan.version)
        async with self._engine.connect() as connection:
            looked = await obstacles(
                connection, projection, plan.generation, seen_as=seen.mark if seen else None
            )
        if looked is not None:
            mark, found = looked
        elif seen is not None:
            mark, found = seen.mark, seen.obstacles
        else:
            return None
        told_at = seen.told_at if seen is not None else -_FRESH_SECONDS
        fresh = now - told_at < _FRESH_SECONDS and seen is not None and seen.obstacles == found
        self._seen[plan.run_id] = _Seen(mark, found, now, now if not fresh else told_at)
        while len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return None if fresh else found


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, waits: WaitInterceptor) -> None:  # noqa: A002
        super().__init__(next)
        self._waits = waits

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        waiting = Waiting()
        watch = self._waits.watch(input.args, waiting)
        token, of_calls = WAITING.set(waiting), LASTING.set(waiting.calls)
        watcher = asyncio.create_task(watch.forever(), context=_without_waiting())
        try:
            return await super().execute_activity(input)
        finally:
            WAITING.reset(token)
            LASTING.reset(of_calls)
            await watch.end(watcher)


def _without_waiting() -> contextvars.Context:
    """A context whose connections are not the activity's."""
    context = contextvars.copy_context()
    context.run(WAITING.set, None)
    return context


class _Watch:
    """Looks at one activity until it ends."""

    def __init__(self, waits: WaitInterceptor, arguments: Sequence[Any], waiting: Waiting) -> None:
        self._waits = waits
        self._waiting = waiting
        info = activity.info()
        self._info = info
        self._step = step_name(info.activity_type, arguments)
        argument = arguments[0] if arguments else None
        kind = info.activity_type
        # What is brought back was live before: nothing is looked at.
        looks = isinstance(argument, RunStep) and not argument.bringing_back
        looks = looks and kind in (*_LOOKING, *_LOOKING_FIRST)
        self._of: RunStep | None = argument if looks else None
        # A segment that follows may be over before anybody has looked: one after the other, while a
        # person is asked. Else the swap comes next, and looks for itself.
        is_asked = isinstance(argument, FollowSegment) and bool(argument.awaiting)
        self._must_look = self._of is not None and kind in _LOOKING_FIRST and is_asked
        # Of a workflow that knows of none, and has not heard of any meanwhile.
        self._none_known = self._of is not None and not self._of.knows_obstacles
        self._looked = asyncio.Event()
        self._told: list[str] = []

    async def forever(self) -> None:
        """Looks every second, until it is cancelled."""
        before: list[str] = []
        if not self._must_look:
            await asyncio.sleep(_FIRST_LOOK_SECONDS)
        while True:
            found: list[str] | None = None
            try:
                plan = await self._waits.plan_to_swap(self._of) if self._of else None
                if plan is not None:
                    found = await self._waits.found(plan)
                    if self._none_known and not found:
                        found = None
                    self._none_known = found is None and self._none_known
                now = await self._now()
                # Twice the same: it is not over in moments.
                lasting = [line for line in now if line in before]
                before = now
                if lasting:
                    LOCK_WAIT_SECONDS.add(_LOOK_SECONDS, {STEP: self._info.activity_type})
                if lasting != self._told or found is not None:
                    await self._tell(lasting, found)
            except Exception as error:
                # The work itself finds out what is wrong; this only looks on.
                logger.debug("%s: who holds it up is not known: %s", self._step, error)
            finally:
                self._looked.set()
            await asyncio.sleep(_LOOK_SECONDS)

    async def end(self, watcher: asyncio.Task[None]) -> None:
        """Stops looking, after a first look that must be made."""
        if self._must_look:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                await asyncio.wait_for(self._looked.wait(), 1.0)
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([watcher])

    async def _now(self) -> list[str]:
        blocked = await self._waits.blocked_by(self._waiting)
        return list(dict.fromkeys([*self._waiting.said, *self._waiting.calls, *blocked]))

    async def _tell(self, waiting_for: list[str], found: list[str] | None) -> None:
        said = StepWaits(step=self._step, waiting_for=waiting_for, obstacles=found)
        workflow = activity.client().get_workflow_handle(
            self._info.workflow_id or "", run_id=self._info.workflow_run_id
        )
        await workflow.signal(SIGNAL, said.model_dump(mode="json"), rpc_timeout=_RPC_TIMEOUT)
        self._told = waiting_for


def _process_of(dbapi_connection: Any) -> int | None:
    driver = getattr(dbapi_connection, "driver_connection", None)
    return None if driver is None or driver.is_closed() else int(driver.get_server_pid())


def _note_sessions(engine: AsyncEngine, among: str) -> None:
    """Has each activity know which sessions of an engine it has in hand."""

    def checked_out(dbapi_connection: Any, record: Any) -> None:
        waiting = WAITING.get()
        if waiting is not None and (pid := _process_of(dbapi_connection)) is not None:
            sessions: set[int] = getattr(waiting, among)
            sessions.add(pid)
            record.info["refold_waiting"] = (sessions, pid)

    add_checkout_listener(engine, checked_out)

    @event.listens_for(engine.sync_engine, "checkin")
    def checked_in(dbapi_connection: Any, record: Any) -> None:
        sessions, pid = record.info.pop("refold_waiting", (None, None))
        if sessions is not None:
            sessions.discard(pid)
