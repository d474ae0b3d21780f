"""Retention: replaced generations, and snapshots made by themselves, are dropped in time."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle.retention import Left, drop_expired
from refold.engine.live.automatic_snapshots import compact_changes, drop_expired_snapshots
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.store.generations import Generation
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_in

_SECONDS = 30.0


class _Dropping(ABC):
    """Drops what each projection does not want to be kept any longer.

    Args:
        engine: The database.
        registry: The projections.
    """

    name: str
    seconds = _SECONDS
    _what: str
    _all: str

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    @abstractmethod
    async def _drop(self, projection: Projection, left: Left) -> list[int]:
        """Drops what can be dropped, and says what stays; returns the generations dropped."""

    async def run_once(self) -> Looked:
        """Looks at each projection that this worker has; see `Chore`."""
        looked = Looked(projections=[projection.name for projection in self._registry])

        staying: list[tuple[Generation, Exception]] = []

        for projection in self._registry:
            try:
                dropped = await self._drop(projection, lambda *stays: staying.append(stays))
            except Exception as error:
                looked.cannot(projection.name, self._all, await reason_in(self._engine, error))
            else:
                looked.done += [f"{projection.name} {self._what} {number}" for number in dropped]
        for stays, why in staying:
            what = f"{self._what} {stays.generation}"
            looked.cannot(stays.projection, what, await reason_in(self._engine, why))
        return looked


class Retention(_Dropping):
    """Drops retained generations beyond their time."""

    name = "retention"
    _what, _all = "generation", "retained generations"

    async def _drop(self, projection: Projection, left: Left) -> list[int]:
        return await drop_expired(self._engine, projection.name, projection.backfill, left=left)


class SnapshotRetention(_Dropping):
    """Drops snapshots that projections have made by themselves, but for the latest ones.

    What is kept for the others is made fewer.
    """

    name = "snapshot retention"
    _what, _all = "snapshot", "snapshots"

    async def _drop(self, projection: Projection, left: Left) -> list[int]:
        dropped = await drop_expired_snapshots(self._engine, projection, left=left)
        await compact_changes(self._engine, self._registry, projection.name)
        return dropped
