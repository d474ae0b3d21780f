"""Presence: a worker shows which projections it has, so that others can leave runs to it."""

from __future__ import annotations

import socket
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.source.port.elsewhere import source_in_words
from refold.store import deployments
from refold.worker.chores.chore import Looked


class Presence:
    """Shows what a worker has.

    Args:
        engine: The database.
        registry: The projections.
        queue: The namespace and task queue, see `refold.store.deployments.queue_of`.
    """

    name = "presence"
    seconds = deployments.SHOWN_SECONDS

    def __init__(self, engine: AsyncEngine, registry: Registry, queue: str) -> None:
        self._engine = engine
        self._queue = queue
        self._build = registry.build
        self._worker = f"{socket.gethostname()}/{uuid4().hex[:8]}"
        self._has = {
            (projection.name, version): _types(registry.version(projection.name, version))
            for projection in registry
            for version in registry.versions(projection.name)
        }

    async def run_once(self) -> Looked:
        """Shows it once more; see `Chore`."""
        async with self._engine.begin() as connection:
            await deployments.show(
                *(connection, self._worker, self._queue, self._has, self._build),
                source=source_in_words(),
            )
        return Looked(projections=[])

    async def leave(self) -> None:
        """Shows that the worker ends."""
        async with self._engine.begin() as connection:
            await deployments.leave(connection, self._worker)


def _types(projection: Projection | None) -> list[str] | None:
    return [] if projection is None else projection.event_types
