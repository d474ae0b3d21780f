"""Retention: replaced generations, and snapshots made by themselves, are dropped in time."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.lifecycle.retention import drop_expired
from refold.engine.live.automatic_snapshots import drop_expired_snapshots
from refold.projection.registry import Registry
from refold.worker.chores.chore import Looked
from refold.worker.chores.reasons import reason_of

_SECONDS = 30.0


class Retention:
    """Drops retained generations beyond their time, as each projection says.

    Args:
        engine: The database.
        registry: The projections.
    """

    name = "retention"
    seconds = _SECONDS

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    async def run_once(self) -> Looked:
        """Looks at each projection that this worker has; see `Chore`."""
        looked = Looked(projections=[projection.name for projection in self._registry])
        for projection in self._registry:
            try:
                dropped = await drop_expired(
                    self._engine,
                    projection.name,
                    projection.backfill,
                    left=lambda generation, error: looked.cannot(
                        generation.projection,
                        f"generation {generation.generation}",
                        reason_of(error),
                    ),
                )
            except Exception as error:
                looked.cannot(projection.name, "retained generations", reason_of(error))
            else:
                looked.done += [f"{projection.name} generation {number}" for number in dropped]
        return looked


class SnapshotRetention:
    """Drops snapshots that projections have made by themselves, but for the latest ones.

    Args:
        engine: The database.
        registry: The projections.
    """

    name = "snapshot retention"
    seconds = _SECONDS

    def __init__(self, engine: AsyncEngine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    async def run_once(self) -> Looked:
        """Looks at each projection that this worker has; see `Chore`."""
        looked = Looked(projections=[projection.name for projection in self._registry])
        for projection in self._registry:
            try:
                dropped = await drop_expired_snapshots(
                    self._engine,
                    projection,
                    left=lambda snapshot, error: looked.cannot(
                        snapshot.projection, f"snapshot {snapshot.generation}", reason_of(error)
                    ),
                )
            except Exception as error:
                looked.cannot(projection.name, "snapshots", reason_of(error))
            else:
                looked.done += [f"{projection.name} snapshot {number}" for number in dropped]
        return looked
