"""A run says who holds it up, and what is going to stop its swap, while it is so."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowHandle

from refold.errors import SwapRefused
from refold.manager.projections import ProjectionManager
from refold.messages.run.life import BackfillResult
from refold.runtime import database as connections
from refold.source.portions import stream
from refold.source.reader import in_position_order
from refold.store.generations import own_schema
from refold.store.swap.blockers import horizon, older_snapshots
from refold.worker.interceptors import waits
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import (
    assert_oracle,
    leftovers,
    queue,
    rows_of,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak

DOCS = Path(__file__).parents[2] / "docs"

# Looked at every second, told after the second look.
_SOON = 5.0


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times a second: what is told then is the same."""
    monkeypatch.setattr(waits, "_LOOK_SECONDS", 0.25)


@asynccontextmanager
async def session(database: Database) -> AsyncIterator[asyncpg.Connection[Any]]:
    connection = await asyncpg.connect(
        database.url, server_settings={"application_name": "pg_dump"}
    )
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def paused_before_its_indexes(
    client: Client, database: Database, **fields: Any
) -> AsyncIterator[WorkflowHandle[Any, BackfillResult]]:
    """A run that has made its new table and rests."""
    request = {"projection": "counters", "max_concurrency": 1, "batch_size": 10, **fields}
    handle = await start(client, database, "Rebuild", {**request, "events_per_second": 50})

    async def refolding() -> bool:
        return bool((await handle.query("progress"))["events_processed"])

    await until(refolding)
    await handle.signal("pause")

    async def rests() -> bool:
        return bool(await handle.query("status") == "paused")

    await until(rests)
    yield handle


def statements_of(page: str, word: str) -> list[str]:
    """The SQL of a page that has a word in it."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE)
    found = [block for block in blocks if word in block]
    assert len(found) == 3
    return found


async def says(handle: WorkflowHandle[Any, Any], field: str, *words: str) -> None:
    """Waits until the run says something, and no longer than somebody who looks would."""

    async def said() -> bool:
        lines = "; ".join((await handle.query("progress"))[field])
        return all(word in lines for word in words)

    await until(said, 30)


async def resumed(handle: WorkflowHandle[Any, Any], phase: str) -> float:
    """Lets the run go on without a limit; returns when it has come to the phase."""
    await handle.execute_update("set_limits", {"events_per_second": 0})
    await handle.signal("resume")

    async def there() -> bool:
        return bool((await handle.query("progress"))["phase"] == phase)

    await until(there)
    return asyncio.get_running_loop().time()


async def test_whoever_holds_up_indexing_is_named(client: Client, database: Database) -> None:
    shadow = f"{own_schema('counters', 1)}.counters"
    await write(database.engine, some())
    async with (
        working(client, database, registry_of(counters())),
        session(database) as dump,
        session(database) as two_phase,
        paused_before_its_indexes(client, database) as handle,
    ):
        await dump.execute(f"BEGIN; LOCK TABLE {shadow} IN ACCESS SHARE MODE")
        await two_phase.execute(
            f"BEGIN; LOCK TABLE {shadow} IN ACCESS SHARE MODE; PREPARE TRANSACTION 'orphan'"
        )
        began = await resumed(handle, "indexing")
        pid = dump.get_server_pid()
        await says(
            handle,
            "waiting_for",
            f"pid {pid} (postgres, idle in transaction, since ",
            "application pg_dump",
            "LOCK TABLE",
            "prepared transaction 'orphan' (postgres, since ",
        )
        took = asyncio.get_running_loop().time() - began
        # So do the statements for people who look themselves.
        for statement in statements_of("stuck.md", "pg_prepared_xacts"):
            if "refold.events" in statement:
                continue  # of another kind of wait
            found = await dump.fetch(
                statement.replace("public.order_summary", shadow).replace("pg_backend_pid()", "0")
            )
            assert {(row["pid"], row["prepared"]) for row in found if row["pid"] is not None} >= {
                (pid, None)
            }, statement
            assert "orphan" in {row["prepared"] for row in found}, statement
        described = (await handle.describe()).raw_description.pending_activities
        assert [one.activity_type.name for one in described] == ["build_indexes"]
        await dump.execute("COMMIT")

        async def only_one() -> bool:
            lines = (await handle.query("progress"))["waiting_for"]
            return len(lines) == 1 and "orphan" in lines[0]

        await until(only_one)
        await two_phase.execute("COMMIT PREPARED 'orphan'")
        await asyncio.wait_for(handle.result(), 60)
        assert (await handle.query("progress"))["waiting_for"] == []
        await assert_oracle(database.engine, counters())
    print(f"named after {took:.1f} s")
    assert took < 2 * _SOON  # twice: tests have a busy machine


OBSTACLES = [
    ("CREATE MATERIALIZED VIEW sums AS TABLE counters", "sums", "DROP MATERIALIZED VIEW sums"),
    ("ALTER TABLE counters ADD mine int", "column mine", "ALTER TABLE counters DROP mine"),
    (
        "CREATE TABLE other (key text CONSTRAINT refers REFERENCES counters)",
        "foreign key refers",
        "DROP TABLE other",
    ),
    (
        "CREATE RULE nothing AS ON DELETE TO counters DO INSTEAD NOTHING",
        "rule nothing",
        "DROP RULE nothing ON counters",
    ),
]


@pytest.mark.parametrize(("made", "word", "taken_away"), [OBSTACLES[0], *soak(*OBSTACLES[1:])])
@pytest.mark.usefixtures("counters_built", "looks_often")
async def test_what_would_stop_the_swap_is_told_as_soon_as_it_is_there_and_can_be_mended(
    client: Client, database: Database, made: str, word: str, taken_away: str
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )

        async def awaits() -> bool:
            return bool(await handle.query("status") == "awaiting_approval")

        await until(awaits)
        async with database.engine.begin() as connection:
            await connection.execute(text(made))
        await says(handle, "obstacles", word)
        await handle.signal("approve")
        await says(handle, "waiting_for", word)
        assert len(await rows_of(database.engine, projection)) == 40
        async with database.engine.begin() as connection:
            await connection.execute(text(taken_away))
        result = await asyncio.wait_for(handle.result(), 60)
        progress = await handle.query("progress")
        assert (progress["obstacles"], progress["waiting_for"]) == ([], [])
    assert result.generation == 2
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built", "looks_often")
async def test_an_obstacle_is_told_while_events_are_folded_and_goes_when_it_is_gone(
    client: Client, database: Database
) -> None:
    projection = counters()
    await write(database.engine, some(80))
    async with working(client, database, registry_of(projection)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "events_per_second": 10}
        )

        async def refolding() -> bool:
            return bool((await handle.query("progress"))["events_processed"])

        await until(refolding)
        for made, word, taken_away in OBSTACLES[1:2]:
            async with database.engine.begin() as connection:
                await connection.execute(text(made))
            await says(handle, "obstacles", word)
            assert (await handle.query("progress"))["phase"] == "refolding"
            async with database.engine.begin() as connection:
                await connection.execute(text(taken_away))

            async def gone() -> bool:
                return bool((await handle.query("progress"))["obstacles"] == [])

            await until(gone)
        await handle.execute_update("set_limits", {"events_per_second": 0})
        await asyncio.wait_for(handle.result(), 60)
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built", "looks_often")
async def test_what_nobody_takes_away_ends_the_run_by_name_after_a_while(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection), swap_patience_seconds=1.0):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )

        async def awaits() -> bool:
            return bool(await handle.query("status") == "awaiting_approval")

        await until(awaits)
        async with database.engine.begin() as connection:
            await connection.execute(text(OBSTACLES[0][0]))
        await handle.signal("approve")
        with pytest.raises(Exception, match="Workflow execution failed") as failed:
            await asyncio.wait_for(handle.result(), 60)
        cause: Any = failed.value.__cause__
        assert cause.type == SwapRefused.__name__
        assert "materialized view public.sums: drop it" in str(cause)
    await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("looks_often")
async def test_a_step_that_is_tried_again_is_told_to_whoever_asks(
    client: Client, database: Database
) -> None:
    projection = counters()
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    await write(database.engine, some())
    refuse = (
        "CREATE FUNCTION busy() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'somebody else is at it' USING ERRCODE = '55P03'; END $$",
        "CREATE EVENT TRIGGER busy ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
        "EXECUTE FUNCTION busy()",
    )
    async with database.engine.begin() as connection:
        for statement in refuse:
            await connection.execute(text(statement))
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})

        async def told() -> bool:
            steps = await manager.get_failing_steps("counters", handle.id)
            return [(one.step, "somebody else is at it" in one.message) for one in steps] == [
                ("indexing", True)
            ]

        await until(told)
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP EVENT TRIGGER busy"))
        await asyncio.wait_for(handle.result(), 60)
        assert await manager.get_failing_steps("counters", handle.id) == []
    await assert_oracle(database.engine, projection)


@pytest.mark.usefixtures("counters_built", "looks_often")
async def test_an_older_snapshot_is_waited_for_and_named_unless_it_reads_events_only(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with (
        working(client, database, registry_of(projection)),
        session(database) as old,
        database.engine.connect() as reader,
    ):
        await old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await old.execute("SELECT count(*) FROM counters")
        statement = in_position_order(types=projection.event_types, upto=10)
        async with stream(reader, statement, fetch=1) as chunks:
            assert len(await anext(chunks)) == 1
            handle = await start(client, database, "Rebuild", {"projection": "counters"})
            pid = old.get_server_pid()
            await says(handle, "waiting_for", "an older snapshot of", f"pid {pid} ", "pg_dump")
            async with database.engine.begin() as connection:
                mark = await horizon(connection)
                older = await older_snapshots(connection, mark)
            assert [one.pid for one in older] == [pid]
            await old.execute("ROLLBACK")
            assert (await handle.result()).generation == 2
    await assert_oracle(database.engine, projection)


async def test_a_worker_starts_on_an_engine_that_others_use(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_FRESH_SECONDS", 0.0)  # each connection is looked at

    async def use() -> None:
        for _ in range(60):
            async with database.engine.connect() as connection:
                assert await connection.scalar(text("SELECT 1")) == 1

    async def begin() -> None:
        for _ in range(20):
            waits.WaitInterceptor(database.engine, registry_of(counters()))
            await asyncio.sleep(0.002)  # any moment of the others' looks

    await asyncio.gather(use(), use(), begin())
