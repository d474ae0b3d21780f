"""Runs through the manager, as any service would start, watch and steer them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.errors import ConfigurationError, ProjectionBusy
from refold.manager.projections import (
    AlreadyRunning,
    NoRun,
    NotAwaited,
    ProjectionManager,
    RunFailed,
)
from refold.messages.run.life import Progress
from refold.messages.run.status import RunStatus
from refold.requests.runs import Approval, BackfillRequest, RollbackRequest
from refold.system_events.events import ProjectionRestartRequested
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, queue, rows_of, until, working, write

KINDS = ("backfill", "rebuild", "rollback", "snapshot", "plan")
IDS = [f"{kind}/counters" for kind in KINDS]
MANUAL = BackfillRequest(projection="counters", approval=Approval.MANUAL)


@asynccontextmanager
async def managed(client: Client, database: Database) -> AsyncIterator[ProjectionManager]:
    """A manager, with a worker that has a read model of 200 events."""
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with (
        ended_after(client, *IDS),
        working(client, database, registry_of(counters(batch_size=20, partitions=2))),
    ):
        yield manager


async def until_awaited(manager: ProjectionManager) -> None:
    async def awaited() -> bool:
        async for progress in manager.get_backfill_progress("counters"):
            return progress.status is RunStatus.AWAITING_APPROVAL
        return False

    await until(awaited)


@pytest.mark.usefixtures("counters_built")
async def test_runs_of_each_kind_to_their_ends(client: Client, database: Database) -> None:
    async with managed(client, database) as manager:
        await write(database.engine, some(start_at=300))
        result = await manager.backfill("counters")
        assert (result.status, result.generation, result.position) == ("completed", 1, 400)
        wanted = BackfillRequest(projection="counters", batch_size=70)
        result = await manager.rebuild("counters", wanted)
        assert (result.status, result.generation, result.position) == ("completed", 2, 400)
        result = await manager.rollback_projection("counters", to_version=1)
        assert (result.status, result.generation) == ("rolled_back", 1)
        back = RollbackRequest(projection="counters", to_generation=2)
        result = await manager.rollback_projection("counters", request=back)
        assert (result.status, result.generation) == ("rolled_back", 2)
        await assert_oracle(database.engine, counters())


async def test_a_plan_says_what_would_be_done_and_does_nothing(
    client: Client, database: Database
) -> None:
    await write(database.engine, some())
    async with managed(client, database) as manager:
        plan = await manager.plan("Rebuild", "counters")
        assert (plan.total_events, plan.generation, plan.partitions) == (200, 1, 2)
        assert await manager.get_all_projections() == []


@pytest.mark.usefixtures("counters_built")
async def test_progress_comes_until_the_end_whenever_one_begins_to_watch(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        with pytest.raises(NoRun, match="refold rebuild never-run"):
            await manager.current_run("never-run")
        run = await manager.start_rebuild("counters", MANUAL)
        early = asyncio.create_task(_all(manager))
        await until_awaited(manager)
        late = asyncio.create_task(_all(manager))
        assert await manager.current_run("counters") == run
        now = await manager.get_progress(run.workflow_id)
        assert now is not None
        assert now.waiting_for == ["approval: manual"]
        assert await manager.get_progress("rebuild/never-run") is None
        await asyncio.sleep(0.3)
        await manager.approve("counters")
        for seen in (await early, await late, await _all(manager)):
            assert seen[-1].status == "completed"
            shares = [progress.percent_complete for progress in seen]
            assert shares == sorted(shares)
            assert shares[-1] == 100
        watched = [progress async for progress in manager.watch(run)]
        assert watched[-1].status == "completed"
        assert (await manager.result(run)).run_id == run.run_id


async def _all(manager: ProjectionManager) -> list[Progress]:
    return [progress async for progress in manager.get_backfill_progress("counters")]


@pytest.mark.usefixtures("counters_built")
async def test_a_table_is_looked_at_then_approved_or_rejected(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        before = await rows_of(database.engine, counters())
        run = await manager.start_rebuild("counters", MANUAL)
        await until_awaited(manager)
        diff = await manager.get_diff("counters")
        assert diff is not None
        assert (diff.added, diff.removed, diff.changed) == (0, 0, 0)
        await manager.reject("counters", "not this one")
        result = await manager.result(run)
        assert (result.status, result.reason) == ("cancelled", "rejected: not this one")
        with pytest.raises(NotAwaited, match="is cancelled"):
            await manager.approve("counters")
        assert await rows_of(database.engine, counters()) == before


@pytest.mark.usefixtures("counters_built")
async def test_a_run_is_cancelled_with_a_reason(client: Client, database: Database) -> None:
    async with managed(client, database) as manager:
        wanted = MANUAL.model_copy(update={"is_atomic": True})
        run = await manager.start_backfill("counters", wanted)
        with pytest.raises(AlreadyRunning, match="refold watch counters"):
            await manager.start_backfill("counters", wanted)
        await until_awaited(manager)
        with pytest.raises(
            ProjectionBusy, match="is being written by workflow 'backfill/counters'"
        ):
            await manager.rebuild("counters")
        await manager.cancel_backfill("counters", "wrong version deployed")
        result = await manager.result(run)
        assert (result.status, result.reason) == ("cancelled", "wrong version deployed")
        with pytest.raises(NoRun, match="has ended"):
            await manager.cancel_backfill("counters")


async def test_a_rollback_without_anything_to_go_back_to_fails(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        run = await manager.start_rollback("counters")
        with pytest.raises(RunFailed, match="expected a retained generation to go back to"):
            await manager.result(run)


@pytest.mark.usefixtures("counters_built")
async def test_snapshots_and_resets_are_started_and_waited_for_apart(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        copied = await manager.result(await manager.start_snapshot("counters"))
        assert (copied.status, copied.generation, copied.position) == ("completed", 2, 200)
        await write(database.engine, some(start_at=300))
        back = await manager.result(await manager.start_restore("counters"))
        assert (back.status, back.position) == ("rolled_back", 400)
        reset = await manager.result(await manager.start_reset("counters", 150))
        assert (reset.status, reset.position) == ("completed", 150)
        assert await manager.get_current_checkpoint("counters") == 150
        await assert_oracle(database.engine, counters())


async def test_one_manager_asks_over_the_same_connections_until_it_is_closed(
    client: Client, database: Database
) -> None:
    async def sessions() -> set[int]:
        statement = text(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND query LIKE '%refold.%'"
        )
        async with database.engine.connect() as connection:
            return set((await connection.scalars(statement)).all())

    async with ProjectionManager(client, database.url) as manager:
        assert await manager.get_current_checkpoint("counters") is None
        first = await sessions()
        assert len(first) == 1
        for _ in range(5):
            await manager.get_snapshots("counters")
            await manager.get_all_projections()
        assert await sessions() == first
    assert await sessions() == set()
    # It may be asked again: it opens another one.
    assert await manager.get_current_checkpoint("counters") is None
    await manager.close()


async def test_a_manager_without_a_database_says_that_it_has_none(client: Client) -> None:
    manager = ProjectionManager(client)
    asked = (
        manager.get_current_checkpoint("counters"),
        manager.get_health("counters"),
        manager.get_all_projections(),
        manager.get_snapshots("counters"),
        manager.drop_snapshot("counters", 1),
        manager.get_dead_letters("counters"),
        manager.get_system_events("counters"),
        manager.publish(ProjectionRestartRequested(projection="counters")),
    )
    for question in asked:
        with pytest.raises(ConfigurationError, match=r"ProjectionManager\(client, database_url\)"):
            await question
