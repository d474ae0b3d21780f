"""A new table waits for a person: what it changes is shown, it goes live or not as they say."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle

from refold.projection.registry import Registry
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, start, until, working, write
from tests.support.soaking import soak
from tests.support.versions import doubled


async def awaiting(handle: WorkflowHandle[Any, Any]) -> None:
    async def asked() -> bool:
        return bool(await handle.query("status") == "awaiting_approval")

    await until(asked)


async def position_of_shadow(database: Database) -> int:
    async with database.engine.connect() as connection:
        found = text("SELECT position FROM refold.generations WHERE status = 'building'")
        return int(await connection.scalar(found) or 0)


@pytest.mark.usefixtures("counters_built")
async def test_a_bug_shows_in_the_diff_and_is_rejected(client: Client, database: Database) -> None:
    old, new = counters(batch_size=10), doubled()
    before = await rows_of(database.engine, old)
    handle = await start(
        client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
    )
    await handle.signal("approve")  # before there is a diff: it comes to nothing
    async with working(client, database, Registry([old, new])):
        await awaiting(handle)
        diff = await handle.query("diff")
        # Keys k000, k010, k020, k030 of 40.
        assert (diff["changed"], diff["added"], diff["removed"]) == (4, 0, 0)
        assert diff["columns"] == [{"column": "sum", "rows": 4}]
        assert (diff["rows_live"], diff["rows_shadow"], diff["position"]) == (40, 40, 200)
        assert diff["changed_percent"] == 10.0
        assert diff["folded_again"] > 0
        assert diff["folded_wrong"] == 0
        sample = next(s for s in diff["samples"] if s["key"] == {"key": "k000"})
        assert float(sample["shadow"]["sum"]) - float(sample["live"]["sum"]) == 1000
        await handle.signal("reject", "sums are wrong")
        result = await handle.result()
    assert (result.status, result.reason) == ("cancelled", "rejected: sums are wrong")
    assert await rows_of(database.engine, old) == before
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_approved_table_has_followed_the_head_meanwhile(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        await awaiting(handle)
        await write(database.engine, some(60, start_at=400))

        async def followed() -> bool:
            return await position_of_shadow(database) == 500

        await until(followed)
        progress = await handle.query("progress")
        assert progress["waiting_for"] == ["approval: manual"]
        assert await rows_of(database.engine, projection) != {}
    # The worker goes, the approval comes, another worker carries on.
    await handle.signal("approve")
    async with working(client, database, registry_of(projection)):
        result = await handle.result()
    assert (result.status, result.position) == ("completed", 500)
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    ("limits", "waits"),
    [
        ({"max_changed_percent": 9.9}, True),
        *soak(
            ({"max_changed_percent": 10}, False),
            ({"max_removed_rows": 0, "approval": "auto"}, False),
        ),
    ],
)
async def test_limits_decide_whether_anybody_is_asked(
    client: Client, database: Database, limits: dict[str, Any], waits: bool
) -> None:
    old, new = counters(), doubled()
    async with working(client, database, Registry([old, new])):
        handle = await start(client, database, "Rebuild", {"projection": "counters", **limits})
        if waits:
            await awaiting(handle)
            progress = await handle.query("progress")
            assert "10.00 % of the live rows change" in progress["waiting_for"][0]
            await handle.signal("approve", "somebody")
        result = await handle.result()
    assert result.status == "completed"
    await assert_oracle(database.engine, new)


@pytest.mark.usefixtures("counters_built")
async def test_removed_rows_beyond_the_limit_wait(client: Client, database: Database) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await connection.execute(text("INSERT INTO counters VALUES ('zz', 1, 1, 1)"))
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "max_removed_rows": 0}
        )
        await awaiting(handle)
        assert "1 rows are removed" in (await handle.query("progress"))["waiting_for"][0]
        await handle.cancel()
        await until(lambda: _is(handle, "cancelled"))
        assert (await handle.query("diff"))["removed"] == 1
    assert "zz" in await rows_of(database.engine, projection)
    assert await leftovers(database.engine) == []


async def _is(handle: WorkflowHandle[Any, Any], status: str) -> bool:
    return bool(await handle.query("status") == status)
