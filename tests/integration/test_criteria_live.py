"""Selected keys and a live projection that goes on meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from temporalio.client import Client

from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.live import live, until_position, until_status
from tests.support.runs import assert_oracle, start, until, working, write


@pytest.mark.usefixtures("counters_built")
async def test_a_stray_row_is_gone_before_its_first_event_is_followed(
    client: Client, database: Database
) -> None:
    """Its key is selected by an event that the live table does not have yet."""
    projection = counters(batch_size=5, partitions=1)
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await connection.execute(text("INSERT INTO counters VALUES ('a', 7, 7, 7)"))
        await write(database.engine, [("a", "Added", {"key": "a", "n": 1})])
        request = {"projection": "counters", "from_position": 0, "events_per_second": 40}
        handle = await start(client, database, "Backfill", request)

        async def underway() -> bool:
            async with database.engine.connect() as connection:
                found = text("SELECT count(*) FROM refold.partitions WHERE done_key IS NOT NULL")
                return bool(await connection.scalar(found))

        await until(underway)
        await handle.signal("pause")
        await until_status(handle, "paused")
        async with live(client, database):
            await until_position(database, 201)
        await handle.execute_update("set_limits", {"events_per_second": 0})
        await handle.signal("resume")
        assert (await asyncio.wait_for(handle.result(), 60)).status == "completed"
    await assert_oracle(database.engine, projection)
