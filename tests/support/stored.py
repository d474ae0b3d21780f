"""Live projections whose checkpoint is in a store, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from refold import Checkpoints, Projection
from refold.store import generations
from refold.store.checkpoints.record import Record
from refold.store.checkpoints.stores import CheckpointStores, Kept
from refold.store.generations import Generation
from tests.support.checkpoint_stores import StoreServers
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import until, write


class Stored:
    """A test's database, with a store of every kind that has been asked for."""

    def __init__(self, database: Database, servers: StoreServers) -> None:
        self.database = database
        self._servers = servers
        self.settings: dict[str, Any] = {}

    def of(self, store: str) -> dict[str, Any]:
        """The workers' settings with which projections may use a store, beside those before."""
        self.settings[f"{store}_url"] = self._servers.address(store, self.database.url)
        return dict(self.settings)

    async def active(self) -> Generation:
        async with self.database.engine.connect() as connection:
            found = await generations.active(connection, "counters")
        assert found is not None
        return found

    @asynccontextmanager
    async def record(self) -> AsyncIterator[tuple[Kept, str, Record | None]]:
        """Where the checkpoint is, the record's name, and the record."""
        active = await self.active()
        assert active.away is not None, "its checkpoint is at home"
        settings = self.database.settings.model_copy(update=self.settings)
        stores = CheckpointStores(settings)
        kept = stores.at(active.away["store"], active.away["place"])
        yield kept, active.away["name"], await kept.read(active.away["name"])
        await stores.close()

    async def until_away(self, store: str) -> None:
        async def is_there() -> bool:
            active = await self.active()
            return active.away is not None and active.away["store"] == store

        await until(is_there)


def apart(store: str | None, **policy: Any) -> Projection:
    made = counters(batch_size=20, **policy)
    return made.with_checkpoints(Checkpoints(store=store)) if store else made


@asynccontextmanager
async def appending(database: Database) -> AsyncIterator[None]:
    over = asyncio.Event()

    async def append() -> None:
        number = 0
        while not over.is_set():
            number += 1
            await write(database.engine, some(7, each=1, start_at=number))
            await asyncio.sleep(0.03)

    task = asyncio.create_task(append())
    try:
        yield
    finally:
        over.set()
        await task
