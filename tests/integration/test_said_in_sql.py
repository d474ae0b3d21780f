"""Projections said in SQL on real servers: rows equal the select over all events, by any route."""

from __future__ import annotations

from temporalio.client import Client

from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import leftovers, run, working, write
from tests.support.selects import assert_selected, removable, summed


async def test_rebuild_is_the_select(client: Client, database: Database) -> None:
    projections = [
        summed(batch_size=7, partitions=3),
        removable("windows", batch_size=7, partitions=2),
    ]
    await write(database.engine, some())
    await write(database.engine, [("s1", "Removed", {"key": "k001"}), *some(start_at=50)])
    async with working(client, database, registry_of(*projections)):
        for projection in projections:
            result = await run(client, database, "Rebuild", projection.name)
            assert (result.status, result.generation) == ("completed", 1)
            assert await assert_selected(database.engine, projection)
    assert await leftovers(database.engine) == []
