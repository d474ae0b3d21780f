"""What a worker has of what is asked for; what it lacks is left to another, for a limited time.

While new code is being deployed, workers differ: one that lacks a projection, or a version of it,
must not end a run that another one can carry on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.engine.step import Place
from refold.errors import (
    NotOnAnyWorker,
    NotOnThisWorker,
    RefoldError,
    UnknownProjection,
    VersionChanged,
)
from refold.messages.run.plan import Plan
from refold.projection.declaration import Projection
from refold.projection.registry import Registry
from refold.runtime.database import autocommit
from refold.runtime.settings import PATIENCE_SECONDS
from refold.store import deployments


class Deployment:
    """The projections of this worker, for activities that may be another worker's.

    Args:
        engine: The database.
        registry: The projections.
        place: Where the step at hand is carried out.
        patience: For how long a step is left to other workers, in seconds.

    Attributes:
        registry: The projections.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        registry: Registry,
        place: Callable[[], Place],
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._looking = autocommit(engine)
        self.registry = registry
        self._place = place
        self._patience = patience

    async def newest(self, name: str) -> Projection:
        """A projection in the highest version that any worker has, as runs begin with it.

        Raises:
            UnknownProjection: No worker has it, and there has never been one of that name.
            NotOnThisWorker: Another worker has the projection, or a higher version of it.
        """
        here = await self.any_version(name)
        queue = self._queue()
        async with self._looking.connect() as connection:
            highest = await deployments.highest(connection, name, queue, self.registry.build)
        if highest is not None and highest > here.version:
            await self.leave(_not_anywhere(name, highest), name, highest)
        return here

    async def any_version(self, name: str) -> Projection:
        """A projection in the highest version that this worker has.

        Raises:
            UnknownProjection: No worker has it, and there has never been one of that name.
            NotOnThisWorker: Another worker has the projection.
        """
        try:
            return self.registry.get(name)
        except UnknownProjection as error:
            async with self._looking.connect() as connection:
                slip = not await deployments.ever_seen(connection, name)
            if slip:
                raise
            await self.leave(error, name, None)

    async def planned(self, plan: Plan) -> Projection:
        """The projection that a run was planned for: two versions must not fold one table.

        Raises:
            NotOnThisWorker: This worker has no such version.
            NotOnAnyWorker: No worker that has it took the step in time.
        """
        try:
            return self.registry.planned(plan.projection, plan.version)
        except (UnknownProjection, VersionChanged) as error:
            await self.leave(error, plan.projection, plan.version)

    async def version(self, name: str, version: int) -> Projection | None:
        """A projection in a version that no worker may have; None when no worker has it.

        Raises:
            NotOnThisWorker: Another worker has it.
            NotOnAnyWorker: Another worker has it, but did not take the step in time.
        """
        found = self.registry.version(name, version)
        if found is None and await self.others_with(name, version):
            await self.leave(_not_anywhere(name, version), name, version)
        return found

    async def others_with(self, name: str, version: int | None) -> list[str]:
        """The workers of this task queue that have a projection, in a version or in any."""
        queue = self._queue()
        async with self._looking.connect() as connection:
            return await deployments.workers_with(
                connection, name, version, queue, self.registry.build
            )

    async def leave(self, error: RefoldError, name: str, version: int | None) -> NoReturn:
        """Leaves the step to a worker that has what it takes; fails once that has taken too long.

        Args:
            error: What the step fails with then.
            name: The projection.
            version: The version of it that is needed; None for any.
        """
        here = self._place()
        since = here.lacking_since or time.time()
        until = since + self._patience
        others = await self.others_with(name, version)
        # The worker that takes the step next is told since when it has been left to others.
        here.note_lacking(since)
        if time.time() >= until:
            raise NotOnAnyWorker(
                f"{error}; no worker that has it took the step within {self._patience:.0f} s: "
                "start one, then start again"
            )
        raise NotOnThisWorker(
            here.worker,
            name,
            version,
            has=self._has(name, version),
            others=others,
            until=f"{datetime.fromtimestamp(until, UTC):%H:%M:%S} UTC",
        )

    def _queue(self) -> str:
        here = self._place()
        return deployments.queue_of(here.namespace, here.task_queue)

    def _has(self, name: str, version: int | None) -> str:
        if version is not None and name in self.registry:
            versions = ", ".join(str(number) for number in self.registry.versions(name))
            return f"version {versions} of it"
        return ", ".join(projection.name for projection in self.registry) or "none"


def _not_anywhere(name: str, version: int) -> VersionChanged:
    return VersionChanged(f"projection {name!r}: version {version} is on other workers only")
