"""Following with the checkpoint in a store, without Temporal: as a worker does, batch by batch.

As a program it follows `counting` and kills itself, so many times as it is started: around the
write that moves the checkpoint, after a batch was committed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from refold import Projection
from refold.engine.folding.follower import WINDOW_PER_EVENT, Follower, take
from refold.engine.live.apart import Apart, Storage, Taken
from refold.errors import RunEnded
from refold.requests.poison_policy import Poison
from refold.runtime.settings import Settings
from refold.source.head import SettledHead
from refold.store import generations
from refold.store.checkpoints.stores import CheckpointStores


@dataclass
class Following:
    """A live projection that follows, until it is caught up.

    Attributes:
        between: Called after a batch has been committed and before its checkpoint is moved.
    """

    engine: AsyncEngine
    projection: Projection
    settings: Settings
    between: Callable[[], None] = field(default=lambda: None)

    async def catch_up(self) -> int:
        """Follows to the head, and leaves the checkpoint at rest; returns the position."""
        async with self.taken() as (follower, apart):
            looking = self.engine.execution_options(isolation_level="AUTOCOMMIT")
            async with looking.connect() as looker, self.engine.connect() as writer:
                head = await SettledHead(follower.position).wait(looker, seconds=5)
                while follower.position < head:
                    await follower.commit_batch(writer, head)
                    self.between()
                    if apart is not None:
                        await apart.moved(follower.position)
            if apart is not None:
                await apart.rest()
            return follower.position

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[tuple[Follower, Apart | None]]:
        """Takes the checkpoint over, wherever it is, and sees to it that it is where it should."""
        stores = CheckpointStores(self.settings)
        try:
            async with self.engine.connect() as connection:
                yield await self._take(connection, Storage(stores))
        finally:
            await stores.close()

    async def _take(
        self, connection: AsyncConnection, storage: Storage
    ) -> tuple[Follower, Apart | None]:
        name, size = self.projection.name, self.projection.backfill.batch_size
        active = await generations.active(connection, name)
        await connection.rollback()
        if active is None:
            raise RunEnded("it was never built")
        async with connection.begin():
            follower = await take(connection, self.projection, active.generation, size, Poison())
        taken = Taken(self.projection, follower.generation, follower.fence)
        apart = await storage.settle(connection, taken, reach=size * WINDOW_PER_EVENT)
        return follower, apart


def _die_soon(chance: random.Random) -> Callable[[], None]:
    """Kills this process after one of the first batches: at once, or within some milliseconds."""
    left = chance.randint(1, 3)

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def between() -> None:
        nonlocal left
        left -= 1
        if left == 0 and chance.random() < 0.5:
            die()
        if left == 0:
            threading.Timer(chance.uniform(0, 0.006), die).start()

    return between


async def _follow_and_die(seed: int) -> None:
    from refold.runtime.database import make_engine
    from refold.runtime.settings import load_settings
    from tests.support.counting import counting

    settings = load_settings()
    engine = make_engine(settings, activities=2)
    await Following(engine, counting, settings, _die_soon(random.Random(seed))).catch_up()
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(_follow_and_die(int(sys.argv[1])))
