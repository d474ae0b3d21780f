"""A rolling restart from code without a projection to code with it, under load: no run fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from refold import Projection
from refold.store import deployments
from refold.store.deployments import queue_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, recorded_types
from tests.support.processes import (
    WorkerProcess,
    WorkerProcesses,
    worker_environment,
    worker_processes,
)
from tests.support.runs import (
    assert_oracle,
    checkpoint,
    last,
    leftovers,
    queue,
    run,
    start,
    until,
    write,
)
from tests.support.soaking import soak
from tests.support.trio import first as counters
from tests.support.trio import third as halves

OLD, NEW = "tests.support.mortal", "tests.support.trio"


@asynccontextmanager
async def under_load(client: Client, database: Database) -> AsyncIterator[list[str]]:
    """Events, and one run after the other, until the end; gives the runs that have completed."""
    completed: list[str] = []
    over = asyncio.Event()

    async def append() -> None:
        number = 10
        while not over.is_set():
            await write(database.engine, some(10, 1, start_at=number))
            number += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.2)

    async def ask() -> None:
        while not over.is_set():
            for kind, fields in (("Rebuild", {}), ("Backfill", {"criteria": "full_rebuild"})):
                result = await run(client, database, kind, "counters", **fields)
                assert result.status == "completed"
                completed.append(kind)
                await asyncio.sleep(1)  # else the load is all that there is time for

    async with asyncio.TaskGroup() as load:
        load.create_task(append())
        load.create_task(ask())
        yield completed
        over.set()


async def until_shown(client: Client, database: Database, workers: int) -> None:
    """Waits until so many workers have shown that they have the new projection."""
    place = queue_of(client.namespace, queue(database))

    async def shown() -> bool:
        async with database.engine.connect() as connection:
            found = await deployments.workers_with(connection, "halves", None, place)
        return len(found) == workers

    await until(shown)


async def until_followed(database: Database, projection: Projection) -> None:
    """Waits until a live projection has all that has been written by now."""
    head = await last(database)

    async def followed() -> bool:
        return await checkpoint(database.engine, projection) >= head

    await until(followed)


async def first_runs(client: Client, database: Database) -> None:
    """Rebuilds the new projection while some workers may lack it."""
    name = f"halves/{queue(database)}"
    asked = {"projection": "halves"}
    handle = await start(client, database, "Rebuild", asked, workflow_id=name)
    # Each of its steps may go to several workers that lack it, one after the other.
    assert (await asyncio.wait_for(handle.result(), 240)).status == "completed"


async def some_more(completed: list[str], runs: int = 2) -> None:
    """Waits for more runs to complete."""
    seen = len(completed)

    async def done() -> bool:
        return len(completed) >= seen + runs

    await until(done, 120)


@pytest.mark.parametrize(("rounds", "workers"), [(1, 1), *soak((4, 2))])
@pytest.mark.timeout(900)
async def test_no_run_fails(
    client: Client, database: Database, tmp_path: Path, rounds: int, workers: int
) -> None:
    await write(database.engine, some())
    before = worker_environment(client, database, REFOLD_PROJECTIONS=OLD)
    after = {**before, "REFOLD_PROJECTIONS": NEW}
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    with (
        worker_processes(before, tmp_path / "old") as old,
        worker_processes(after, tmp_path / "new") as new,
    ):
        leaving = [old.start() for _ in range(workers)]
        await run(client, database, "Rebuild", "counters")
        async with live(client, database), under_load(client, database) as completed:
            for number in range(rounds):
                coming = []
                for worker in leaving:
                    coming.append(new.start())
                    await until_shown(client, database, len(coming))
                    # Others that lack it are still there when its first run is asked for.
                    await first_runs(client, database)
                    assert await worker.terminate() == 0
                await some_more(completed)
                if number + 1 < rounds:
                    leaving = await _back(old, coming)
                    await until_shown(client, database, 0)
                    await some_more(completed)
            async with live(client, database, projection="halves"):
                await until_followed(database, halves)
            await until_followed(database, counters)
        # While they differed, what one lacked was left to another.
        assert await _ended_badly(client, database) == []
        assert "ProjectionFailed" not in await recorded_types(database)
    await assert_oracle(database.engine, counters)
    await assert_oracle(database.engine, halves)
    assert await leftovers(database.engine) == []


async def _back(old: WorkerProcesses, leaving: list[WorkerProcess]) -> list[WorkerProcess]:
    """Back to the version without it: as a deployment is rolled back."""
    coming = []
    for worker in leaving:
        coming.append(old.start())
        assert await worker.terminate() == 0
    return coming


async def _ended_badly(client: Client, database: Database) -> list[str]:
    """The workflows of the test that have failed or timed out."""
    bad = (WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.TIMED_OUT)
    return [
        found.id
        async for found in client.list_workflows(f"TaskQueue = '{queue(database)}'")
        if found.status in bad
    ]
