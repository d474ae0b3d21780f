"""The way back that a projection declares, whoever starts the run: by hand, by event, by schedule.

A run that builds itself at start (`auto_start`) works aside: it keeps what it replaces anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import ProjectionBackfillRequested
from refold.manager import ProjectionManager
from refold.projection.declaration import Row
from refold.projection.key import Key
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after, until_recorded
from tests.support.runs import (
    assert_oracle,
    leftovers,
    queue,
    rows_of,
    run,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak

OFTEN = {"batch_size": 20, "partitions": 1}


@asynccontextmanager
async def touched(
    client: Client, database: Database, **policy: Any
) -> AsyncIterator[dict[Key, Row]]:
    """The built read model, when somebody has changed it by hand, and its rows as they are now."""
    projection = counters(**OFTEN, **policy)
    async with working(client, database, registry_of(projection)):
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET sum = -1 WHERE key < 'k010'"))
        yield await rows_of(database.engine, projection)


async def generations_of(database: Database) -> list[tuple[int, str]]:
    async with database.engine.connect() as connection:
        found = text("SELECT generation, status FROM refold.generations ORDER BY 1")
        return [(row[0], row[1]) for row in await connection.execute(found)]


async def break_the_end(database: Database) -> None:
    """All keys are repaired, then following fails."""
    await write(database.engine, [("bad", "Broken", {"key": "k020"})])


async def by_hand(client: Client, database: Database) -> str:
    with pytest.raises(WorkflowFailureError) as failed:
        await run(client, database, "Backfill", "counters")
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.message


async def by_event(client: Client, database: Database) -> str:
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with manager, ended_after(client, "projection/counters", "backfill/counters"):
        await manager.publish(ProjectionBackfillRequested(projection="counters"))
        failed = await until_recorded(database, "ProjectionBackfillFailed")
        assert failed.data["status"] == "undone"
        return str(failed.data["error"])


async def by_schedule(client: Client, database: Database) -> str:
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with manager, ended_after(client, "plan/counters"):
        made = await manager.add_schedule("counters", "0 3 * * *")
        try:
            await client.get_schedule_handle(made.id).trigger()
            failed = await until_recorded(database, "ProjectionBackfillFailed")
        finally:
            await manager.remove_schedule(made.id)
        assert failed.data["status"] == "undone"
        return str(failed.data["error"])


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize(
    "way", [by_event, by_schedule, *soak(by_hand)], ids=lambda way: way.__name__
)
async def test_what_stood_there_is_brought_back_whoever_asked(
    client: Client, database: Database, way: Any
) -> None:
    async with touched(client, database, rollback_on_failure=True) as before:
        await break_the_end(database)
        assert "what stood there before was brought back" in await way(client, database)
        assert await rows_of(database.engine, counters()) == before
    # The backup was for the failure only.
    assert [status for _, status in await generations_of(database)] == ["discarded", "active"]
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_backup_is_kept_to_roll_back_to(client: Client, database: Database) -> None:
    async with touched(client, database, create_backup=True) as before:
        plan = (await run(client, database, "Backfill", "counters", dry_run=True)).plan
        assert plan is not None
        assert (plan.backup, plan.keep_backup, plan.rollback_on_failure) == (2, True, False)
        await run(client, database, "Backfill", "counters")
        await assert_oracle(database.engine, counters())
        assert await generations_of(database) == [(1, "active"), (2, "retained")]
        # Nothing is repaired: no copy of the whole table for the sake of some new events.
        await write(database.engine, some(10, start_at=9))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await run(client, database, "Backfill", "counters", from_position=10**9)
        assert await generations_of(database) == [(1, "active"), (2, "retained")]
        # A request may do without.
        await run(client, database, "Backfill", "counters", create_backup=False)
        assert await generations_of(database) == [(1, "active"), (2, "retained")]
        back = await run(client, database, "Rollback", "counters")
        assert (back.status, back.generation) == ("rolled_back", 2)
    changed = {key for key, row in before.items() if row["sum"] == -1}
    after = await rows_of(database.engine, counters())
    assert {key for key, row in after.items() if row["sum"] < 0} <= changed


@pytest.mark.usefixtures("counters_built")
async def test_a_run_that_is_cancelled_while_it_plans_is_undone_too(
    client: Client, database: Database
) -> None:
    """The workflow does not know yet what the projection declares: it asks whether it planned."""
    async with touched(client, database, rollback_on_failure=True) as before:
        async with database.engine.connect() as blocker:
            # The plan is written under the lease's row, which is locked here.
            handle = await start(client, database, "Backfill", {"projection": "counters"})

            async def leased() -> bool:
                async with database.engine.connect() as connection:
                    found = text("SELECT count(*) FROM refold.leases")
                    return bool(await connection.scalar(found))

            await until(leased)
            await blocker.execute(text("LOCK TABLE refold.partitions IN ACCESS EXCLUSIVE MODE"))
            await handle.signal("cancel", "a mistake")
            await blocker.rollback()
        result = await asyncio.wait_for(handle.result(), 60)
        assert result.status in ("undone", "cancelled")
        assert await rows_of(database.engine, counters()) == before
    assert await leftovers(database.engine) == []
    assert ("retained" in dict(await generations_of(database)).values()) is False


@pytest.mark.usefixtures("counters_built")
async def test_without_rollback_nothing_is_kept_and_rollbacks_are_refused(
    client: Client, database: Database
) -> None:
    projection = counters(enable_rollback=False)
    async with working(client, database, registry_of(counters(retained_generations=3))):
        await run(client, database, "Rebuild", "counters")
    async with working(client, database, registry_of(projection)):
        for kind, fields, expected in (
            ("Rollback", {}, "declares enable_rollback=False: roll back to a snapshot"),
            ("Backfill", {"create_backup": True}, "declares that it keeps none"),
        ):
            with pytest.raises(WorkflowFailureError) as refused:
                await run(client, database, kind, "counters", **fields)
            assert isinstance(refused.value.cause, ApplicationError)
            assert expected in refused.value.cause.message
        snapshot = await run(client, database, "Snapshot", "counters")
        await run(client, database, "Rebuild", "counters")
        assert await generations_of(database) == [
            (1, "discarded"),
            (2, "discarded"),
            (3, "snapshot"),
            (4, "active"),
        ]
        back = await run(client, database, "Rollback", "counters", to_generation=3)
        assert (snapshot.generation, back.generation) == (3, 5)
    await assert_oracle(database.engine, projection)
