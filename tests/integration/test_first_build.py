"""The first build of a read model whose key is a function: followed, counted, compared."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from refold.engine.keying import possible
from tests.support.counters import registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.histories import steps_of
from tests.support.runs import assert_oracle, start, until, working, write
from tests.support.soaking import soak


async def never(connection: AsyncConnection) -> bool:
    return False


@pytest.mark.parametrize("unmanaged", [False, *soak(True)])
async def test_it_is_folded_before_it_is_verified(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, unmanaged: bool
) -> None:
    """Nothing is refolded, as its keys cannot be computed first."""
    halves = siblings()[1]
    monkeypatch.setattr(possible, "may_create", never)
    await write(database.engine, some(20))
    if unmanaged:
        async with database.engine.begin() as connection:
            await connection.run_sync(halves.table.create)
    async with working(client, database, registry_of(halves)):
        handle = await start(
            client,
            database,
            "Rebuild",
            {"projection": "halves", "approval": "manual", "events_per_second": 60},
        )

        async def awaited() -> bool:
            return bool((await handle.query("progress"))["status"] == "awaiting_approval")

        await until(awaited)
        steps = await steps_of(handle)
        verified = steps.index("verify_generation")
        assert steps[verified - 1] == "follow_segment", steps
        diff, plan = await handle.query("diff"), await handle.query("plan")
        assert "may create no table in schema refold" in plan["note"]
        assert (diff["rows_live"], diff["rows_shadow"], diff["added"]) == (0, 22, 22)
        assert diff["folded_again"] > 0
        await handle.signal("approve")
        await handle.result()
    rows = await assert_oracle(database.engine, halves)
    async with database.engine.connect() as connection:
        counted = text("SELECT rows FROM refold.generations WHERE status = 'active'")
        assert await connection.scalar(counted) == len(rows) == 22
