"""The manager does what a call says, or refuses it by name; nothing is passed over in silence."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from refold import ProjectionBackfillRequested, ProjectionStopped
from refold.errors import (
    InvalidRequest,
    ProjectionBusy,
    RunFailed,
    UnknownProjection,
)
from refold.manager import AlreadyRunning, ProjectionManager
from refold.projection.registry import Registry
from refold.requests.limits import Limits
from refold.requests.runs import BackfillRequest, RollbackRequest, SnapshotRequest
from refold.store import deployments
from refold.store.deployments import queue_of
from refold.worker.chores.presence import Presence
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, queue, start, until, working, write

KINDS = ("backfill", "rebuild", "rollback", "snapshot", "plan", "projection")
IDS = [f"{kind}/counters" for kind in KINDS]
NOWHERE = [f"{kind}/nowhere" for kind in KINDS]


async def show(client: Client, database: Database, registry: Registry) -> None:
    """A worker shows what it has, as its chores do."""
    place = queue_of(client.namespace, queue(database))
    await Presence(database.engine, registry, place).run_once()


@asynccontextmanager
async def managed(client: Client, database: Database) -> AsyncIterator[ProjectionManager]:
    registry = registry_of(counters(batch_size=20))
    await show(client, database, registry)
    async with (
        ended_after(client, *IDS, *NOWHERE),
        working(client, database, registry),
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
    ):
        yield manager


# -- names that nobody knows -----------------------------------------------------------------


async def test_a_worker_that_shows_itself_while_it_is_asked_for_is_known(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_known = deployments.is_known

    async def asked_just_before(*given: Any) -> bool:
        found = await is_known(*given)
        await show(client, database, registry_of(counters()))
        return found

    monkeypatch.setattr(deployments, "is_known", asked_just_before)
    async with ProjectionManager(client, database.url, task_queue=queue(database)) as manager:
        await manager.require_known("counters")


# What each method takes beside the name of a projection.
MORE: dict[str, tuple[Any, ...]] = {
    "set_limits": (Limits(batch_size=5),),
    "reset_checkpoint": (5,),
    "start_reset": (5,),
    "drop_snapshot": (1,),
    "add_schedule": ("@daily",),
    "skip_dead_letters": ([1],),
}
# Those that name no projection, take one itself, or a run that has been started.
NAMELESS = {"close", "get_all_projections", "has_workers", "remove_schedule", "result", "watch"}
NAMELESS |= {"get_progress", "publish", "read_snapshot", "explain"}


def named() -> list[str]:
    methods = inspect.getmembers(ProjectionManager, inspect.isfunction)
    return [
        name
        for name, _ in methods
        if not name.startswith("_") and name not in NAMELESS and "mirror" not in name
    ]


async def call(manager: ProjectionManager, method: str, *arguments: Any) -> Any:
    called = getattr(manager, method)(*arguments)
    if inspect.isasyncgen(called):
        return [one async for one in called]
    return await called


async def test_no_method_takes_a_name_that_nobody_knows(client: Client, database: Database) -> None:
    async with managed(client, database) as manager:
        for method in named():
            before = ("Rebuild",) if method == "plan" else ()
            with pytest.raises(UnknownProjection, match=r"expected one of \(counters\), got 'nowh"):
                await call(manager, method, *before, "nowhere", *MORE.get(method, ()))
        await manager.require_known("counters")
        for event in (
            ProjectionBackfillRequested(projection="nowhere"),
            ProjectionStopped(projection="nowhere"),
        ):
            with pytest.raises(UnknownProjection, match="got 'nowhere'"):
                await manager.publish(event)
        for workflow_id in NOWHERE:
            with pytest.raises(RPCError, match="not found"):
                await client.get_workflow_handle(workflow_id).describe()


async def test_without_a_database_a_worker_refuses_the_name(
    client: Client, database: Database
) -> None:
    """And with one, as long as no worker has shown what it has."""
    await write(database.engine, some(3))
    async with ended_after(client, *NOWHERE), working(client, database, registry_of(counters())):
        for url in (None, database.url):
            manager = ProjectionManager(client, url, task_queue=queue(database))
            with pytest.raises(UnknownProjection, match="got 'nowhere'") as refused:
                await manager.rebuild("nowhere")
            assert (refused.value.name, refused.value.code) == ("nowhere", "RF105")
            await manager.close()


async def test_what_is_asked_by_event_of_a_name_that_nobody_knows_leaves_nothing_running(
    client: Client, database: Database
) -> None:
    """Nobody has shown what there is: it is taken, answered, and ends."""
    async with (
        ended_after(client, *NOWHERE),
        working(client, database, registry_of(counters())),
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
    ):
        await manager.publish(ProjectionBackfillRequested(projection="nowhere"))
        handle = client.get_workflow_handle("projection/nowhere")
        with pytest.raises(WorkflowFailureError) as failed:
            await asyncio.wait_for(handle.result(), 60)
        assert isinstance(failed.value.cause, ApplicationError)
        assert failed.value.cause.type == "UnknownProjection"
        answer = (await manager.get_system_events("nowhere"))[-1]
        assert (answer.type, answer.data["code"]) == ("ProjectionBackfillFailed", "RF105")


# -- arguments -------------------------------------------------------------------------------


async def test_arguments_that_contradict_one_another_are_refused(
    client: Client, database: Database
) -> None:
    other = BackfillRequest(projection="other")
    back = RollbackRequest(projection="counters", to_generation=1)
    wrong: Any = back
    snapshot = SnapshotRequest(projection="x")
    async with managed(client, database) as manager:
        refused: list[tuple[str, Any]] = [
            ("projection: expected 'counters'.*'other'", manager.backfill("counters", other)),
            ("projection: expected 'counters'.*'other'", manager.start_rebuild("counters", other)),
            (
                "projection: expected 'counters'.*'other'",
                manager.rebuild("counters", {"projection": "other"}),
            ),
            ("projection: .*'other'", manager.add_schedule("counters", "@daily", other)),
            ("projection: .*'other'", manager.plan("Rebuild", "counters", other)),
            (
                "projection: .*'x'",
                manager.start_snapshot("counters", snapshot),
            ),
            (
                "to_version: expected as a field of the request",
                manager.rollback_projection("counters", 99, request=back),
            ),
            (
                "batch_size: expected as a field of the request",
                manager.backfill("counters", {"criteria": "full_rebuild"}, batch_size=5),
            ),
            (
                "to_version: expected one of to_generation and to_version",
                manager.rollback_projection("counters", 1, to_generation=1),
            ),
            ("request: expected a BackfillRequest", manager.backfill("counters", wrong)),
            ("batch_size: Input should be", manager.rebuild("counters", {"batch_size": "five"})),
            ("colour: not a field", manager.rebuild("counters", {"colour": "red"})),
            ("kind: expected one of", manager.plan("Rollback", "counters")),
            ("batch_size: expected limits or", manager.set_limits("counters", {}, batch_size=1)),
        ]
        for expected, called in refused:
            with pytest.raises(InvalidRequest, match=expected):
                await called
        assert (await manager.get_all_projections())[0].generation is None


@pytest.mark.usefixtures("counters_built")
async def test_a_request_may_be_a_dict_or_keyword_arguments(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        result = await manager.backfill(
            "counters", criteria="from_date", from_date=date(2026, 1, 1), batch_size=70
        )
        assert result.note == "from_date 2026-01-01 is midnight UTC"
        plan = await manager.plan("Backfill", "counters", last_n=10, criteria="last_n_events")
        assert plan.selected_events == 10
        await manager.rebuild("counters", {"batch_size": 50, "requested_by": "ann"})
        back = await manager.rollback_projection("counters", to_generation=1, requested_by="ann")
        assert back.generation == 1
        run = await manager.start_rebuild("counters", approval="manual")
        assert (await manager.set_limits("counters", batch_size=3)).batch_size == 3
        assert (await manager.set_limits("counters", {"batch_size": 4})).batch_size == 4
        await manager.cancel_backfill("counters", "enough")
        assert (await manager.result(run)).status == "cancelled"
        await assert_oracle(database.engine, counters())


# -- errors ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("counters_built")
async def test_a_failed_run_says_what_it_failed_at(client: Client, database: Database) -> None:
    async with managed(client, database) as manager:
        with pytest.raises(RunFailed) as refused:
            await manager.rollback_projection("counters")
        assert (refused.value.type, refused.value.code) == ("InvalidRequest", "RF201")
        assert "retained generation to go back to" in refused.value.message
        await write(database.engine, [("bad", "Broken", {"key": "k001"})])
        with pytest.raises(RunFailed) as failed:
            await manager.rebuild("counters")
    error = failed.value
    assert (error.type, error.code, error.is_transient) == ("PoisonEvent", "RF301", False)
    assert str(error) == error.message
    assert "event 201 (Broken of stream 'bad')" in error.message


@pytest.mark.usefixtures("counters_built")
async def test_somebody_else_runs_is_one_error_whatever_the_workflow_id(
    client: Client, database: Database
) -> None:
    manual = {"projection": "counters", "approval": "manual"}
    async with managed(client, database) as manager:
        # Under an id of somebody's own: the lease refuses it. Under the default one: Temporal does.
        for workflow_id in (f"theirs/{queue(database)}", "rebuild/counters"):
            handle = await start(client, database, "Rebuild", manual, workflow_id=workflow_id)

            async def holds() -> bool:
                return (await manager.get_all_projections())[0].held_by is not None

            await until(holds)
            with pytest.raises(ProjectionBusy) as busy:
                await manager.rebuild("counters")
            assert isinstance(busy.value, AlreadyRunning)
            assert busy.value.workflow_id == workflow_id
            assert busy.value.run_id == handle.first_execution_run_id
            assert busy.value.code == "RF202"
            assert workflow_id in str(busy.value)
            await handle.signal("cancel")
            await asyncio.wait_for(handle.result(), 60)


@pytest.mark.usefixtures("counters_built")
async def test_what_was_undone_and_what_was_rolled_back_are_not_the_same(
    client: Client, database: Database
) -> None:
    async with managed(client, database) as manager:
        run = await manager.start_backfill(
            "counters", rollback_on_failure=True, events_per_second=20, batch_size=5
        )

        async def underway() -> bool:
            progress = await manager.get_progress(run.workflow_id)
            return progress is not None and progress.events_processed > 0

        await until(underway)
        await manager.cancel_backfill("counters")
        undone = await manager.result(run)
        await manager.rebuild("counters")
        back = await manager.rollback_projection("counters")
    assert (undone.status, back.status) == ("undone", "rolled_back")


# -- how projections are ---------------------------------------------------------------------


async def test_projections_that_were_never_built_are_listed_and_lag_is_theirs(
    client: Client, database: Database
) -> None:
    """Lag counts the types that a projection reads, though nobody says which."""
    await write(database.engine, [*some(5), ("s", "Unread", {}), ("s", "Unread", {})])
    built, never, _ = counters(), *siblings()
    async with (
        ended_after(client, *IDS),
        working(client, database, registry_of(built, never)),
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
    ):
        await manager.backfill("counters")
        assert [one.projection for one in await manager.get_all_projections()] == ["counters"]
        await show(client, database, registry_of(built, never))
        await write(database.engine, [*some(3, start_at=50), *[("s", "Unread", {})] * 4])
        first, second = await manager.get_all_projections()
        assert (first.projection, first.generation, first.lag_events) == ("counters", 1, 15)
        assert (second.projection, second.generation, second.position) == ("streams", None, None)
        assert second.lag_events == 40
        assert (await manager.get_health("counters")).standing.lag_events == 15
        assert await manager.get_current_checkpoint("streams") is None
        assert await manager.get_snapshots("streams") == []
