"""A key that is a function: its keys are computed first, then it is as a key that is a path."""

from __future__ import annotations

from temporalio.client import Client

from tests.support.counters import registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, run, working, write


async def test_a_rebuild_has_partitions(client: Client, database: Database) -> None:
    halves = siblings()[1]
    await write(database.engine, some(40))
    async with working(client, database, registry_of(halves)):
        result = await run(client, database, "Rebuild", "halves")
    assert result.events_processed == 400
    await assert_oracle(database.engine, halves)
    assert await leftovers(database.engine) == []
