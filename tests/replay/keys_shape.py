"""The shape of a run whose key is a function."""

from __future__ import annotations

from temporalio.client import Client

from tests.replay.short_history import Handle
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.keyed import keyed, lose_keys
from tests.support.runs import start, working, write
from tests.support.watching import until_batches


async def keys_of_a_function(client: Client, database: Database) -> list[Handle]:
    """Computed first; once more when PostgreSQL has lost them, between two segments."""
    await write(database.engine, some(40))
    projection = keyed(batch_size=5, partitions=2)
    request = {"projection": "keyed", "max_concurrency": 1, "events_per_second": 200}
    async with working(client, database, registry_of(projection), segment_seconds=0.05):
        handle = await start(client, database, "Rebuild", request)
        await until_batches(database, 3)
        await lose_keys(database)
        await handle.result()
    return [handle]
