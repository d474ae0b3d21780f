"""Runs whose history grows long continue as new, and nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from refold.messages.run.life import Phase, Progress
from refold.messages.run.status import RunStatus
from tests.replay.mirror_shapes import mirror_continued
from tests.replay.shapes import continued_as_new
from tests.replay.short_history import SHORT, continuations, short_history_server
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.mirrored import numbered
from tests.support.mirroring import as_landed, landed
from tests.support.runs import (
    assert_oracle,
    history_length,
    leftovers,
    rows_of,
    start,
    until,
    working,
    write,
)
from tests.support.soaking import soak


@pytest.fixture(scope="module")
async def short_histories() -> AsyncIterator[WorkflowEnvironment]:
    async with await short_history_server() as environment:
        yield environment


@pytest.fixture
def short_client(short_histories: WorkflowEnvironment) -> Client:
    return short_histories.client


async def test_long_run_continues_as_new_and_goes_on(
    short_client: Client, database: Database
) -> None:
    chain = await continued_as_new(short_client, database)
    assert len(chain) == 3  # the first two, and the last
    lengths = [await history_length(link) for link in chain]
    print(f"histories of {lengths} events")
    assert max(lengths) < 3 * SHORT
    result = await chain[-1].result()
    assert (result.status, result.events_processed) == ("completed", 750)
    assert result.run_id == chain[0].run_id
    await assert_oracle(database.engine, counters())
    assert await leftovers(database.engine) == []


async def test_a_mirror_continues_as_new_and_loses_nothing(
    short_client: Client, database: Database
) -> None:
    chain = await mirror_continued(short_client, database)
    assert len(chain) > 1
    assert await landed(database) == as_landed([numbered(number) for number in range(60)])


@pytest.mark.parametrize(
    "how",
    ["watched", *soak("signal", "temporal")],
)
async def test_progress_and_cancel_over_continuations(
    short_client: Client, database: Database, how: str
) -> None:
    await write(database.engine, some(150))
    projection = counters(batch_size=1, partitions=2)
    async with working(short_client, database, registry_of(projection), segment_seconds=0.05):
        handle = await start(short_client, database, "Rebuild", {"projection": "counters"})
        assert handle.first_execution_run_id
        first = short_client.get_workflow_handle(handle.id, run_id=handle.first_execution_run_id)
        latest = short_client.get_workflow_handle(handle.id)
        seen = Progress(status=RunStatus.PENDING, phase=Phase.PLANNING)

        async def look() -> Progress:
            nonlocal seen
            found: Progress = await latest.query("progress", result_type=Progress)
            assert found.percent_complete >= seen.percent_complete, (seen, found)
            assert found.events_processed >= seen.events_processed, (seen, found)
            seen = found
            return found

        async def continued() -> bool:
            await look()
            status = (await first.describe()).status
            return status == WorkflowExecutionStatus.CONTINUED_AS_NEW

        if how == "watched":

            async def completed() -> bool:
                return (await look()).status == "completed"

            await until(completed, 120)
            assert seen.percent_complete == 100
        else:
            await until(continued)
            # Cancels fall right before, into and after the beginnings of new histories.
            await (latest.signal("cancel", "now") if how == "signal" else latest.cancel())

            async def over() -> bool:
                status = (await latest.describe()).status
                return status not in (
                    WorkflowExecutionStatus.RUNNING,
                    WorkflowExecutionStatus.CONTINUED_AS_NEW,
                )

            await until(over)
            assert await latest.query("status") == "cancelled"
            assert await rows_of_or_none(database) == 0
    assert len(await continuations(short_client, handle)) >= 2
    assert await leftovers(database.engine) == []


@pytest.mark.soak
async def test_what_was_approved_is_not_asked_again_over_continuations(
    short_client: Client, database: Database
) -> None:
    await write(database.engine, some())
    projection = counters()
    async with working(short_client, database, registry_of(projection)):
        first = await start(short_client, database, "Rebuild", {"projection": "counters"})
        await first.result()
        request = {"projection": "counters", "approval": "manual"}
        handle = await start(short_client, database, "Rebuild", request)
        latest = short_client.get_workflow_handle(handle.id)
        seen: set[str] = set()

        async def awaited() -> bool:
            return bool(await latest.query("status") == "awaiting_approval")

        await until(awaited)
        async with database.engine.connect() as idle:
            await idle.execute(text("SELECT count(*) FROM counters"))
            await latest.signal("approve")

            async def long_since() -> bool:
                seen.add(await latest.query("status"))
                return len(await continuations(short_client, handle)) >= 3

            await until(long_since, 120)
        result = await asyncio.wait_for(handle.result(), 60)
    assert (result.status, result.generation) == ("completed", 2)
    assert seen <= {"awaiting_approval", "running"}
    assert await leftovers(database.engine) == []


async def rows_of_or_none(database: Database) -> int:
    """How many rows the live table has; 0 when it was never made."""
    from sqlalchemy.exc import ProgrammingError

    try:
        return len(await rows_of(database.engine, counters()))
    except ProgrammingError:
        return 0
