"""History: what happened long ago is forgotten, so that looking at what is now stays quick."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold.runtime.settings import Settings
from refold.store import deliveries, deployments, history, system_events
from refold.store.gaps import late_events
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in

_SECONDS = 300.0
_LATE_EVENTS_AGE = timedelta(hours=1)

Forget = Callable[[AsyncConnection], Awaitable[int]]


class History:
    """Forgets old system events, runs, generations, handlers and workers.

    Args:
        engine: The database.
        settings: For how long things are remembered.
    """

    name = "history"
    seconds = _SECONDS

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._age = timedelta(days=settings.history_days)
        self._events_age = timedelta(days=settings.system_events_days)

    async def run_once(self) -> Looked:
        """Forgets what is old enough, a bounded share of it; see `Chore`."""
        looked = Looked()
        await self._forget(looked, "", "system events", self._system_events)
        await self._forget(looked, "", "handlers", lambda c: deliveries.forget(c, self._age))
        await self._forget(looked, "", "selected keys", history.forget_selected_keys)
        await self._forget(looked, "", "workers", deployments.forget)
        await self._forget(looked, "", "late events", self._late_events)
        async with self._engine.connect() as connection:
            names = await history.projections(connection, self._age)
        for name in names:
            await self._forget_of(looked, name)
        return looked

    async def _forget_of(self, looked: Looked, name: str) -> None:
        await self._forget(looked, name, "runs", lambda c: history.forget_runs(c, name, self._age))
        await self._forget(
            looked, name, "generations", lambda c: history.forget_generations(c, name, self._age)
        )

    async def _system_events(self, connection: AsyncConnection) -> int:
        return await system_events.prune(connection, self._events_age)

    async def _late_events(self, connection: AsyncConnection) -> int:
        return await late_events.forget(connection, _LATE_EVENTS_AGE)

    async def _forget(self, looked: Looked, projection: str, what: str, forget: Forget) -> None:
        try:
            async with self._engine.begin() as connection:
                forgotten = await forget(connection)
        except Exception as error:
            looked.cannot(projection, f"old {what}", await reason_in(self._engine, error))
        else:
            if forgotten:
                looked.done.append(f"{forgotten} {what}{f' of {projection}' if projection else ''}")
