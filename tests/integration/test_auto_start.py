"""A projection that wants it builds itself when a worker first sees it: once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from temporalio.client import Client, WorkflowFailureError

from refold import Projection
from refold.engine.planning.auto_start import require_deployed
from refold.errors import NotDeployed
from refold.projection.registry import Registry
from refold.store.schema import runs
from refold.worker.chores.auto_start import AutoStart
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.eager import eager
from tests.support.events import some
from tests.support.live import live, until_status
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import assert_oracle, queue, run, start, until, working, write
from tests.support.soaking import soak


def looking(client: Client, database: Database, registry: Registry) -> AutoStart:
    return AutoStart(database.engine, client, registry, queue(database))


async def recorded(database: Database) -> list[tuple[str, str, str]]:
    """Workflow id, who asked, and how it ended, of each run in order."""
    columns = (runs.c.workflow_id, runs.c.requested_by, runs.c.status)
    async with database.engine.connect() as connection:
        found = await connection.execute(select(*columns).order_by(runs.c.started_at))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("count", [2, *soak(3)])
async def test_workers_at_once_build_it_once(
    client: Client, database: Database, tmp_path: Path, count: int
) -> None:
    await write(database.engine, some())
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="tests.support.eager")
    with worker_processes(environment, tmp_path) as workers:
        for _ in range(count):
            workers.start()
        await until(lambda: _has_ended(database))

        async def all_have_looked() -> bool:
            return workers.output.count("working on task queue") == count

        await until(all_have_looked)
        await assert_oracle(database.engine, eager())
        assert await recorded(database) == [("auto-start/eager/1", "auto_start", "completed")]
        assert workers.output.count("started auto-start/eager/1") <= 1, workers.output


async def _has_ended(database: Database) -> bool:
    return [status for *_, status in await recorded(database)] == ["completed"]


async def test_any_number_of_looks_start_one(client: Client, database: Database) -> None:
    await write(database.engine, some())
    registry = registry_of(eager("looks"))
    async with working(client, database, registry):
        found = await asyncio.gather(
            *[looking(client, database, registry).run_once() for _ in range(10)]
        )
        assert sorted(looked.done for looked in found)[-2:] == [[], ["auto-start/looks/1"]]
        await _result(client, "auto-start/looks/1", database, eager("looks"))
        assert await started(looking(client, database, registry)) == []
    assert await recorded(database) == [("auto-start/looks/1", "auto_start", "completed")]


async def _result(
    client: Client, workflow_id: str, database: Database, projection: Projection
) -> Any:
    result = await asyncio.wait_for(client.get_workflow_handle(workflow_id).result(), 60)
    await assert_oracle(database.engine, projection)
    return result


async def test_a_new_version_builds_itself_and_what_was_rolled_back_stays_so(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    first, second = eager("anew"), eager("anew", 2)
    async with working(client, database, registry_of(first)):
        assert await started(looking(client, database, registry_of(first))) == ["auto-start/anew/1"]
        await _result(client, "auto-start/anew/1", database, first)
        assert await started(looking(client, database, registry_of(first))) == []
    both = Registry([first, second])
    async with working(client, database, both):
        assert await started(looking(client, database, both)) == ["auto-start/anew/2"]
        await _result(client, "auto-start/anew/2", database, second)
        await run(client, database, "Rollback", "anew")
        await assert_oracle(database.engine, first)
        assert await started(looking(client, database, both)) == []
        assert await started(looking(client, database, registry_of(first))) == []
    ends = [status for *_, status in await recorded(database)]
    assert ends == ["completed", "completed", "rolled_back"]


async def test_one_that_fails_is_not_repeated(client: Client, database: Database) -> None:
    await write(database.engine, some())
    broken = registry_of(eager("broken", broken=True))
    async with working(client, database, broken):
        await looking(client, database, broken).run_once()
        with pytest.raises(WorkflowFailureError):
            await _result(client, "auto-start/broken/1", database, eager("broken"))
        assert await started(looking(client, database, broken)) == []
        async with live(client, database, projection="broken") as handle:
            await until_status(handle, "needs_rebuild")
            report = (await handle.query("health"))["report"]
            assert report["rebuild_to"] is None
    assert await recorded(database) == [("auto-start/broken/1", "auto_start", "failed")]


async def test_a_live_projection_and_workers_start_one_between_them(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    registry = registry_of(eager("shared"))
    async with (
        working(client, database, registry),
        live(client, database, projection="shared") as handle,
    ):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(looking(client, database, registry).run_once())
        await until(lambda: _has_ended(database))
        await handle.signal("restart")  # sooner than it would look again by itself
        await until_status(handle, "live")
        await assert_oracle(database.engine, eager("shared"))
    assert await recorded(database) == [("auto-start/shared/1", "auto_start", "completed")]


async def started(auto_start: AutoStart) -> list[str]:
    return (await auto_start.run_once()).done


@pytest.mark.soak
async def test_a_live_projection_alone_starts_it_too(client: Client, database: Database) -> None:
    await write(database.engine, some())
    registry = registry_of(eager("alone"))
    async with (
        working(client, database, registry),
        live(client, database, projection="alone") as handle,
    ):
        await until_status(handle, "live")
    assert await recorded(database) == [("auto-start/alone/1", "auto_start", "completed")]
    assert await started(looking(client, database, registry)) == []


async def test_nothing_is_started_beside_a_run_that_holds_it(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    registry = registry_of(eager("held"))
    async with working(client, database, registry):
        request = {"projection": "held", "approval": "manual"}
        handle = await start(client, database, "Rebuild", request)
        await until_status(handle, "awaiting_approval")
        assert await started(looking(client, database, registry)) == []
        await handle.signal("approve")
        await handle.result()
        assert await started(looking(client, database, registry)) == []


def test_a_version_that_builds_itself_is_left_to_workers_that_have_it(shop: Registry) -> None:
    registry = Registry([*shop, counters()])
    require_deployed(registry, "counters", "auto-start/counters/1")
    require_deployed(registry, "counters", "rebuild/counters")
    require_deployed(registry, "nope", "rebuild/nope")
    with pytest.raises(NotDeployed, match="version 2 is to be built, this worker has version 1"):
        require_deployed(registry, "counters", "auto-start/counters/2")
    with pytest.raises(NotDeployed, match="no version of it"):
        require_deployed(registry, "nope", "auto-start/nope/1")


def test_the_sample_projections_wait_to_be_asked(shop: Registry) -> None:
    assert not any(projection.backfill.auto_start for projection in shop)


async def test_workers_of_older_code_leave_it_to_newer_ones(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    old, new = eager("moving"), eager("moving", 2)
    async with working(client, database, registry_of(old)):
        assert await started(looking(client, database, registry_of(new))) == ["auto-start/moving/2"]
        handle = client.get_workflow_handle("auto-start/moving/2")

        async def refused() -> bool:
            pending = (await handle.describe()).raw_description.pending_activities
            return any("this worker has version 1" in one.last_failure.message for one in pending)

        await until(refused)
    async with working(client, database, Registry([old, new])):
        await _result(client, handle.id, database, new)
