"""Snapshots: frozen copies that stay as they are; made, refused, cancelled, dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from refold.errors import NoSnapshot, ProjectionBusy
from refold.manager.projections import ProjectionManager, RunFailed
from refold.store import leases
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.frozen import failure, frozen, statuses
from tests.support.runs import assert_oracle, leftovers, queue, run, start, until, working, write
from tests.support.soaking import soak
from tests.support.watching import until_batches


def manager(client: Client, database: Database) -> ProjectionManager:
    return ProjectionManager(client, database.url, task_queue=queue(database))


@asynccontextmanager
async def slow_indexes(database: Database) -> AsyncIterator[None]:
    """Makes the creation of an index wait for a minute."""
    statements = (
        "CREATE FUNCTION waits() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); END $$",
        "CREATE EVENT TRIGGER slow ON ddl_command_start WHEN TAG IN ('CREATE INDEX') "
        "EXECUTE FUNCTION waits()",
    )
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    yield
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP EVENT TRIGGER slow"))


async def _indexes(database: Database, schema: str) -> list[str]:
    found = text("SELECT indexname FROM pg_indexes WHERE schemaname = :schema ORDER BY 1")
    async with database.engine.connect() as connection:
        return list((await connection.execute(found, {"schema": schema})).scalars())


@pytest.mark.usefixtures("counters_built")
async def test_snapshots_are_none_of_retentions_business(
    client: Client, database: Database
) -> None:
    projection = counters(retained_generations=0)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Snapshot", "counters")
        # It has the keys and indexes that the table declares.
        declared = ["counters_pkey", "counters_sum"]
        assert await _indexes(database, "refold_counters_g2") == declared
        await run(client, database, "Rebuild", "counters")
        # Nor is one ever gone back to that is not named.
        for fields in ({}, {"to_version": 1}):
            handle = await start(client, database, "Rollback", {"projection": "counters", **fields})
            said = (await failure(handle)).message
            assert "retained generation" in said
            assert "none" in said
        assert await statuses(database) == [(1, "discarded"), (2, "snapshot"), (3, "active")]
        await run(client, database, "Rollback", "counters", to_generation=2)
        assert await _indexes(database, "public") == declared
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_snapshot_is_refused_while_a_run_holds_the_projection(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=1, partitions=1)
    async with working(client, database, registry_of(projection)):
        name = "one-" + database.url
        request = {"projection": "counters"}
        rebuild = await start(client, database, "Rebuild", request, workflow_id=name)
        await until_batches(database, 1)
        refused = await failure(await start(client, database, "Snapshot", request))
        assert refused.type == "ProjectionBusy"
        assert name in refused.message
        await rebuild.signal("cancel")
        await rebuild.result()
    assert await statuses(database) == [(1, "active"), (2, "discarded")]
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize(
    "how",
    ["signal", *soak("temporal", "terminate")],
)
@pytest.mark.usefixtures("counters_built")
async def test_snapshot_that_is_cancelled_leaves_nothing(
    client: Client, database: Database, how: str
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        async with slow_indexes(database):
            handle = await start(client, database, "Snapshot", {"projection": "counters"})

            async def copying() -> bool:
                return bool((await handle.query("progress"))["phase"] == "copying")

            await until(copying)
            if how == "signal":
                await handle.signal("cancel", "no room")
                result = await asyncio.wait_for(handle.result(), 60)
                assert (result.status, result.reason) == ("cancelled", "no room")
                assert (result.generation, result.is_snapshot) == (None, False)
            else:
                await (handle.cancel() if how == "temporal" else handle.terminate("in a hurry"))
                with pytest.raises(WorkflowFailureError):
                    await asyncio.wait_for(handle.result(), 60)
        # What a terminated run left is removed by the next one.
        again = await run(client, database, "Snapshot", "counters")
    assert again.generation == 3
    assert await statuses(database) == [(1, "active"), (2, "discarded"), (3, "snapshot")]
    await frozen(database, projection, 3)
    assert await leftovers(database.engine) == []


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("Snapshot", {"projection": "counters"}, "it has never been built"),
    ("Snapshot", {"projection": "nope"}, "expected one of (counters), got 'nope'"),
    ("Snapshot", {"projection": "counters", "keep": 3}, "keep: not a field of the request"),
    ("Snapshot", {}, "projection: required"),
    (
        "Rollback",
        {"projection": "counters", "to_generation": 7},
        "retained generations of 'counters', none, or of its snapshots, none, got 7",
    ),
]


async def test_what_cannot_be_is_refused(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        for kind, asked, expected in REFUSED:
            assert expected in (await failure(await start(client, database, kind, asked))).message
            assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_live_projection_goes_on_while_it_is_copied(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=3)
    async with working(client, database, registry_of(projection)):
        live = await start(
            client,
            database,
            "Projection",
            {"projection": "counters"},
            workflow_id="live-" + database.url,
        )

        async def appending() -> None:
            for number in range(20):
                await write(database.engine, some(5, each=2, start_at=number))

        appended = asyncio.create_task(appending())
        made = [await run(client, database, "Snapshot", "counters") for _ in range(2)]
        await appended
        for one in made:
            assert one.generation is not None
            await frozen(database, projection, one.generation)
        back = await run(client, database, "Rollback", "counters", to_generation=made[0].generation)
        assert back.status == "rolled_back"
        await assert_oracle(database.engine, projection)
        await live.cancel()
        with pytest.raises(WorkflowFailureError):
            await live.result()
    assert await leftovers(database.engine) == []


async def test_snapshots_from_python(client: Client, database: Database) -> None:
    projection = counters(batch_size=10)
    asked = manager(client, database)
    await write(database.engine, some())
    async with working(client, database, registry_of(projection)):
        assert await asked.get_snapshots("counters") == []
        with pytest.raises(NoSnapshot, match=r"\(none\)"):
            await asked.restore_from_snapshot("counters")
        with pytest.raises(RunFailed, match="has never been built"):
            await asked.create_snapshot("counters")
        await asked.rebuild("counters")
        first = await asked.create_snapshot("counters")
        assert (first.generation, first.version, first.position, first.rows) == (2, 1, 200, 40)
        await write(database.engine, some(50, start_at=9))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        second = await asked.create_snapshot("counters")
        assert (second.generation, second.position, second.rows) == (3, 450, 50)
        assert second.created_at > first.created_at
        assert await asked.get_snapshots("counters") == [second, first]

        restored = await asked.restore_from_snapshot("counters")
        assert restored.events_processed == 0  # from the newest, which is at the head
        restored = await asked.restore_from_snapshot("counters", first.generation)
        assert (restored.events_processed, restored.position) == (250, 450)
        await assert_oracle(database.engine, projection)

        with pytest.raises(NoSnapshot, match=r"\(3, 2\), got 1"):
            await asked.restore_from_snapshot("counters", 1)
        with pytest.raises(NoSnapshot, match=r"\(3, 2\), got 1"):
            await asked.drop_snapshot("counters", 1)
        async with database.engine.begin() as connection:
            await leases.acquire(
                connection, "counters", run_id="r", workflow_id="a-restore", namespace="default"
            )
        with pytest.raises(ProjectionBusy, match="a-restore"):
            await asked.drop_snapshot("counters", 2)
        async with database.engine.begin() as connection:
            await leases.release(connection, "r")
        await asked.drop_snapshot("counters", 2)
        assert await asked.get_snapshots("counters") == [second]
    assert await leftovers(database.engine) == []
