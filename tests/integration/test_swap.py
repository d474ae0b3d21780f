"""The swap against readers: who is in the way is named, nobody queues, views show the new rows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle

from refold.worker.interceptors import waits
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, leftovers, rows_of, run, start, until, working, write
from tests.support.versions import reshaped


async def waits_for(handle: WorkflowHandle[Any, Any], what: str) -> None:
    async def said() -> bool:
        return what in "; ".join((await handle.query("progress"))["waiting_for"])

    await until(said)


@pytest.mark.usefixtures("counters_built")
async def test_an_idle_reader_is_named_and_no_other_reader_waits_for_it(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "_LOOK_SECONDS", 0.25)  # what is told then is the same
    projection = counters()
    async with working(client, database, registry_of(projection)):
        clock = asyncio.get_running_loop().time
        longest = 0.0
        async with database.engine.connect() as idle:
            await idle.execute(text("SELECT count(*) /* sits idle */ FROM counters"))
            pid = await idle.scalar(text("SELECT pg_backend_pid()"))
            handle = await start(client, database, "Rebuild", {"projection": "counters"})
            await waits_for(handle, f"pid {pid} (postgres, idle in transaction, since ")
            until_then = clock() + 1
            while clock() < until_then:
                began = clock()
                assert len(await rows_of(database.engine, projection)) == 40
                longest = max(longest, clock() - began)
                await asyncio.sleep(0.03)
            assert await handle.query("status") == "running"
        result = await asyncio.wait_for(handle.result(), 60)
        assert (await handle.query("progress"))["waiting_for"] == []
    assert result.generation == 2
    # A reader that queued behind the swap would have waited for its lock_timeout at least; how
    # long one read may take on a busy machine is the load test's subject.
    print(f"longest read beside a swap that waits: {1000 * longest:.0f} ms")
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built")
async def test_view_of_a_reader_without_other_rights_shows_the_new_rows(
    client: Client, database: Database
) -> None:
    projection = counters()
    role = "view_reader_of_" + database.url.rsplit("/", 1)[1]
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await connection.execute(text(f"CREATE ROLE {role}"))
            await connection.execute(text("CREATE VIEW best AS SELECT key, last FROM counters"))
            await connection.execute(text(f"GRANT SELECT ON best TO {role}"))

        async def seen() -> int:
            async with database.engine.connect() as connection:
                await connection.execute(text(f"SET LOCAL ROLE {role}"))
                return int(await connection.scalar(text("SELECT max(last) FROM best")) or 0)

        assert await seen() == 199
        for start_at, kind in ((1000, "Rebuild"), (2000, "Rollback")):
            await write(database.engine, some(start_at=start_at))
            await run(client, database, kind, "counters")
            assert await seen() == start_at + 199
    async with database.engine.begin() as connection:
        await connection.execute(text(f"DROP OWNED BY {role}"))
        await connection.execute(text(f"DROP ROLE {role}"))
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_plan_says_what_would_be_done_and_refused_and_does_nothing(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=7, partitions=3)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(50, start_at=900))
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE VIEW best AS SELECT key FROM counters"))
            await connection.execute(text("CREATE MATERIALIZED VIEW sums AS TABLE counters"))
        result = await run(client, database, "Rebuild", "counters", dry_run=True)
        plan = result.plan
        assert plan is not None
        assert (plan.total_events, plan.keys, plan.position) == (450, 50, 450)
        assert (plan.partitions, plan.batch_size, plan.generation) == (3, 7, 2)
        assert any("best" in thing for thing in plan.carried)
        assert any("sums" in thing for thing in plan.refused)
        assert any("SET SCHEMA" in statement for statement in plan.swap)
        async with database.engine.connect() as connection:
            known = await connection.execute(text("SELECT status FROM refold.generations"))
            assert list(known.scalars()) == ["active"]
            runs = await connection.scalar(text("SELECT count(*) FROM refold.runs"))
            assert runs == 1
        await _a_materialized_view_is_refused(client, database, "Rebuild")
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_view_of_a_column_that_goes_away_is_refused_before_any_work(
    client: Client, database: Database
) -> None:
    old, new = counters(), reshaped()
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE VIEW best AS SELECT key, last, count FROM counters"))
    async with working(client, database, registry_of(old, new)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(Exception, match="Workflow execution failed") as refused:
            await handle.result()
    said = str(refused.value.__cause__)
    assert "view public.best uses column last, which the new table does not have" in said
    assert "uses column count, which is bigint in the new table, not integer" in said
    await assert_oracle(database.engine, old)
    assert await leftovers(database.engine) == []


@pytest.mark.soak
@pytest.mark.usefixtures("counters_built")
async def test_materialized_view_is_refused_before_anything_is_taken_back(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE MATERIALIZED VIEW sums AS TABLE counters"))
        await _a_materialized_view_is_refused(client, database, "Rollback")
    assert await leftovers(database.engine) == []


async def _a_materialized_view_is_refused(client: Client, database: Database, kind: str) -> None:
    """By its name, before any work."""
    handle = await start(client, database, kind, {"projection": "counters"})
    with pytest.raises(Exception, match="Workflow execution failed") as refused:
        await handle.result()
    cause = refused.value.__cause__
    assert "materialized view" in str(cause)
    assert "sums" in str(cause)
