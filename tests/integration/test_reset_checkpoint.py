"""A checkpoint set back: readers get the read model as of a position; following goes on there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import Event, Projection
from refold.manager.projections import ProjectionManager, RunFailed
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import (
    assert_oracle,
    checkpoint,
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

# After the 200 of which `counters` was built.
LATER = [("s1", "Removed", {"key": "k001"}), *some(20, each=3, start_at=700)]
INCREMENTAL = {"criteria": "incremental_update"}


def by_function(**policy: int) -> Projection:
    """``counters`` with a key that is a function: no partitions, all is followed."""
    right = counters(**policy)

    def key(event: Event) -> Any:
        return event.data["key"]

    projection = Projection("counters", table=right.table, key=key, backfill=right.backfill)
    for event_type, handler in right.handlers.items():
        projection.on(event_type)(handler)
    return projection


@pytest.mark.parametrize("position", [137, *soak(0, 1, 201, 261)])
@pytest.mark.parametrize("make", [counters, *soak(by_function)])
@pytest.mark.usefixtures("counters_built")
async def test_readers_get_the_read_model_as_of_a_position(
    client: Client, database: Database, make: Any, position: int
) -> None:
    projection = make(batch_size=20)
    await write(database.engine, LATER)
    async with working(client, database, registry_of(projection)):
        if position > 200:
            await run(client, database, "Backfill", "counters", **INCREMENTAL)
        result = await run(client, database, "Rebuild", "counters", as_of=position)
        assert (result.status, result.position) == ("completed", position)
        assert result.events_processed == position
        assert await checkpoint(database.engine, projection) == position
        await assert_oracle(database.engine, projection)
        # From there on, event by event.
        result = await run(client, database, "Backfill", "counters", **INCREMENTAL)
        assert (result.events_processed, result.position) == (261 - position, 261)
        await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_live_projection_follows_on_from_there(client: Client, database: Database) -> None:
    projection = counters(batch_size=20)
    await write(database.engine, LATER)
    asked = ProjectionManager(client, database.url, task_queue=queue(database))
    async with working(client, database, registry_of(projection)):
        live = await start(
            client,
            database,
            "Projection",
            {"projection": "counters"},
            workflow_id="live-" + database.url,
        )
        result = await asked.reset_checkpoint("counters", 100)
        # It may have gone on already.
        assert result.generation == 2

        async def at_the_head() -> bool:
            return await asked.get_current_checkpoint("counters") == 261

        await until(at_the_head)
        await assert_oracle(database.engine, projection)
        await live.cancel()
        with pytest.raises(WorkflowFailureError):
            await live.result()
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_reset_is_compared_approved_and_taken_back_like_any_rebuild(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=50)
    await write(database.engine, LATER)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters", **INCREMENTAL)
        request = {"projection": "counters", "as_of": 180, "approval": "manual"}
        handle = await start(client, database, "Rebuild", request)

        async def asked() -> bool:
            return bool(await handle.query("status") == "awaiting_approval")

        await until(asked)
        plan = await handle.query("plan")
        assert (plan["position"], plan["total_events"]) == (180, 180)
        assert "as of position 180" in plan["note"]
        diff = await handle.query("diff")
        assert (diff["position"], diff["changed"], diff["unchanged"]) == (None, 40, 0)
        assert "stands at position 180; the live one's is 261" in diff["note"]
        await write(database.engine, some(3, start_at=5))
        await handle.signal("approve")
        result = await asyncio.wait_for(handle.result(), 60)
        assert result.position == 180
        await assert_oracle(database.engine, projection)
        back = await run(client, database, "Rollback", "counters")
        assert (back.generation, back.position) == (1, 276)
        await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


@pytest.mark.usefixtures("counters_built")
async def test_a_poison_event_can_be_stepped_back_before(
    client: Client, database: Database
) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await write(database.engine, [("bad", "Broken", {"key": "k003"})])
        # The head cannot be reached, a position before it can; by a backfill aside, too.
        result = await run(client, database, "Backfill", "counters", is_atomic=True, as_of=150)
        assert result.position == 150
    await assert_oracle(database.engine, projection)


IMPOSSIBLE: list[tuple[str, dict[str, Any], str]] = [
    ("Rebuild", {"as_of": 201}, "as_of: expected at most the checkpoint of 'counters', 200, "),
    ("Rebuild", {"as_of": 10**30}, "as_of: Input should be less than"),
    ("Rebuild", {"as_of": -1}, "as_of: Input should be greater than or equal to 0, got -1"),
    ("Rebuild", {"as_of": "then"}, "as_of: Input should be a valid integer"),
    (
        "Backfill",
        {"as_of": 5, "criteria": "incremental_update"},
        "as_of: expected with criteria full_rebuild only",
    ),
    ("Backfill", {"as_of": 5}, "as_of: expected with is_atomic only"),
]


@pytest.mark.usefixtures("counters_built")
async def test_position_that_cannot_be_is_refused(client: Client, database: Database) -> None:
    projection = counters()
    async with working(client, database, registry_of(projection)):
        await write(database.engine, some(5))  # a checkpoint is not set ahead
        before = await rows_of(database.engine, projection)
        for kind, fields, expected in IMPOSSIBLE:
            handle = await start(client, database, kind, {"projection": "counters", **fields})
            with pytest.raises(WorkflowFailureError) as failed:
                await asyncio.wait_for(handle.result(), 60)
            assert isinstance(failed.value.cause, ApplicationError)
            assert expected in failed.value.cause.message
            assert await rows_of(database.engine, projection) == before
            assert await checkpoint(database.engine, projection) == 200
            assert await leftovers(database.engine) == []


async def test_what_has_no_checkpoint_is_not_set_back(client: Client, database: Database) -> None:
    asked = ProjectionManager(client, database.url, task_queue=queue(database))
    await write(database.engine, some())
    async with working(client, database, registry_of(counters())):
        with pytest.raises(RunFailed, match="'counters' has none yet"):
            await asked.reset_checkpoint("counters", 5)
        await asked.backfill("counters")
        async with database.engine.begin() as connection:
            await connection.execute(text("DROP TABLE counters"))
        with pytest.raises(RunFailed, match="'counters' has none yet"):
            await asked.reset_checkpoint("counters", 5)
    assert await leftovers(database.engine) == []
