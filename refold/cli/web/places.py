"""What the page's server is on: one engine, one registry, and Temporal once it answers."""

from __future__ import annotations

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.manager.projections import ProjectionManager
from refold.projection.registry import Registry
from refold.runtime.database import make_engine
from refold.runtime.settings import Settings
from refold.runtime.temporal.client import connect


class Places:
    """The database and Temporal of one server, for its life.

    Args:
        settings: Those of a worker.

    Raises:
        RefoldError: The settings cannot work.
    """

    def __init__(self, settings: Settings) -> None:
        self.registry: Registry = settings.registry()
        self.engine: AsyncEngine = make_engine(settings, activities=0)
        self._settings = settings
        self._manager: ProjectionManager | None = None
        self._connecting = asyncio.Lock()

    async def manager(self) -> ProjectionManager:
        """The manager, made when Temporal first answers.

        Raises:
            TemporalUnreachable: It does not.
        """
        async with self._connecting:
            if self._manager is None:
                self._manager = ProjectionManager(
                    await connect(),
                    self._settings.database_url,
                    task_queue=self._settings.task_queue,
                    tenant_path=self._settings.tenant_path,
                )
            return self._manager

    async def close(self) -> None:
        """Closes the connections to the database."""
        if self._manager is not None:
            await self._manager.close()
        await self.engine.dispose()
