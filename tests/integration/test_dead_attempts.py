"""Attempts of runs that have ended come back: they must find every door closed."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from refold import BackfillRequest, Projection
from refold.activities import swap
from refold.activities.shadow import ShadowActivities
from refold.engine.folding.follower import take_follower
from refold.engine.lifecycle.cleanup import end_run
from refold.engine.lifecycle.plans import plan_of
from refold.engine.planning import admission
from refold.engine.planning.preview import preview
from refold.errors import Fenced, RunEnded
from refold.messages.run.endings import Why
from refold.messages.run.plan import Plan, RunStep
from refold.messages.run.preview import Preview
from refold.messages.run.status import RunStatus
from refold.store import generations, leases, partitions, runs
from refold.store.tables import read_models
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import assert_oracle, queue, run, start, until, working, write


def added(keys: int, each: int) -> list[tuple[str, str, dict[str, object]]]:
    return [(f"s{k}", "Added", {"key": f"k{k}", "n": n}) for n in range(each) for k in range(keys)]


def plan(run_id: str, generation: int, *, atomic: bool, position: int, partitions: int) -> Plan:
    return Plan(
        run_id=run_id,
        projection="counters",
        version=1,
        generation=generation,
        atomic=atomic,
        position=position,
        head=position,
        partitions=partitions,
        max_concurrency=1,
        batch_size=10,
        total_events=position,
        heartbeat_seconds=10,
    )


async def begun(database: Database, projection: Projection, run_id: str) -> Plan:
    """What `begin_run` leaves of a rebuild with one partition."""
    async with database.engine.begin() as connection:
        await leases.acquire(
            connection, "counters", run_id=run_id, workflow_id=run_id, namespace="default"
        )
        await runs.begin(
            connection,
            run_id=run_id,
            projection="counters",
            kind="Rebuild",
            workflow_id=run_id,
            request={},
        )
        generation = await generations.create(
            connection,
            "counters",
            version=1,
            status=generations.BUILDING,
            schema_name=None,
            table_name="counters",
            run_id=run_id,
        )
        await read_models.create_shadow(connection, projection, generation.schema_name)
        await partitions.create(connection, run_id, [(None, None)], [20])
        made = plan(run_id, generation.generation, atomic=True, position=20, partitions=1)
        await runs.set_plan(connection, run_id, made.model_dump(mode="json"))
    return made


@pytest.mark.usefixtures("counters_built")
async def test_follower_of_a_swapped_out_table_is_fenced(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=10)
    async with working(client, database, registry_of(projection)):
        await write(database.engine, added(5, 6))
        async with database.engine.connect() as connection:
            dead = plan("dead", 1, atomic=False, position=230, partitions=0)
            async with connection.begin():
                zombie = await take_follower(connection, projection, dead)
            async with connection.begin():
                await zombie.apply_batch(connection, 230)
            await run(client, database, "Rebuild", "counters")
            with pytest.raises(Fenced):
                async with connection.begin():
                    await zombie.apply_batch(connection, 230)
            with pytest.raises(RunEnded):
                async with connection.begin():
                    await take_follower(connection, projection, dead)
    await assert_oracle(database.engine, projection)


async def test_generation_numbers_are_never_used_again(database: Database) -> None:
    projection = counters()
    first = await begun(database, projection, "first")
    await end_run(
        database.engine,
        run_id="first",
        projection="counters",
        status=RunStatus.FAILED,
        why=Why(error="swept"),
    )
    second = await begun(database, projection, "second")
    assert (first.generation, second.generation) == (1, 2)
    shadowing = ShadowActivities(database.engine, registry_of(projection))
    with pytest.raises(RunEnded):
        await ActivityEnvironment().run(shadowing.build_indexes, first.step)


async def test_a_step_needs_the_plan_of_a_run_that_goes_on(database: Database) -> None:
    made = await begun(database, counters(), "run")
    assert await plan_of(database.engine, made.step) == made
    backup = made.model_copy(update={"atomic": False, "backup": 7})
    async with database.engine.begin() as connection:
        await runs.set_plan(connection, "run", backup.model_dump(mode="json"))
    step = backup.bringing_back().step
    assert (await plan_of(database.engine, step)).generation == 7
    assert step == RunStep(run_id="run", bringing_back=True)
    with pytest.raises(RunEnded, match="run no-such: expected its plan"):
        await plan_of(database.engine, RunStep(run_id="no-such"))
    await end_run(
        database.engine,
        run_id="run",
        projection="counters",
        status=RunStatus.FAILED,
        why=Why(error="x"),
    )
    with pytest.raises(RunEnded, match="expected a run that goes on, it ended as failed"):
        await plan_of(database.engine, step)


async def test_a_run_that_has_ended_is_not_begun_once_more(
    client: Client, database: Database
) -> None:
    """As by a worker that froze when it had been given the task, and goes on a minute later."""
    await begun(database, counters(), "run")
    why = Why(error="x")
    await end_run(
        database.engine, run_id="run", projection="counters", status=RunStatus.FAILED, why=why
    )
    with pytest.raises(RunEnded, match="expected a run that goes on, it ended as failed"):
        await admission.begin(
            database.engine,
            TemporalExecutions(client),
            BackfillRequest(projection="counters"),
            run_id="run",
            workflow_id="run",
            kind="Rebuild",
        )
    async with database.engine.connect() as connection:
        assert await leases.all_leases(connection) == []


@pytest.mark.usefixtures("counters_built")
async def test_who_stopped_while_reading_the_new_table_is_not_waited_for(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "_GRACE_SECONDS", 0.5)
    async with working(client, database, registry_of(counters())):
        manual = {"projection": "counters", "approval": "manual"}
        handle = await start(client, database, "Rebuild", manual)

        async def awaits_approval() -> bool:
            return bool(await handle.query("status") == "awaiting_approval")

        await until(awaits_approval)
        named = {"application_name": "refold"}
        stopped = await asyncpg.connect(database.url, server_settings=named)
        await stopped.execute("BEGIN; SELECT FROM refold_counters_g2.counters")
        await handle.signal("approve")
        result = await asyncio.wait_for(handle.result(), 30)
    assert result.status == "completed"
    assert stopped.is_closed()
    await assert_oracle(database.engine, counters())


async def test_indexes_are_refused_while_a_partition_is_not_done(database: Database) -> None:
    projection = counters()
    unfinished = await begun(database, projection, "unfinished")
    shadowing = ShadowActivities(database.engine, registry_of(projection))
    with pytest.raises(RunEnded, match="expected 1 partitions done, found 0"):
        await ActivityEnvironment().run(shadowing.build_indexes, unfinished.step)


async def test_poison_in_one_of_several_partitions_is_what_the_run_reports(
    client: Client, database: Database
) -> None:
    projection = counters(batch_size=1, partitions=2)
    await write(database.engine, [*added(200, 3), ("bad", "Broken", {"key": "k199"})])
    async with working(client, database, registry_of(projection), segment_seconds=30):
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert await handle.query("status") == "failed"
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "PoisonEvent"
    async with database.engine.connect() as connection:
        error = await connection.scalar(text("SELECT error FROM refold.runs"))
    assert "event 601 (Broken of stream 'bad')" in error


@pytest.mark.usefixtures("counters_built")
async def test_a_swap_that_comes_first_is_not_undone_by_the_end_of_its_run(
    database: Database,
) -> None:
    # A terminated run is swept while an attempt of its own is in the midst of its swap.
    swapped = await begun(database, counters(), "r2")
    async with database.engine.connect() as swap:
        await generations.get(swap, "counters", swapped.generation, lock=True)
        ending = asyncio.create_task(
            end_run(
                database.engine,
                run_id="r2",
                projection="counters",
                status=RunStatus.FAILED,
                why=Why(error="ended"),
            )
        )
        await until(lambda: _is_waiting(database))
        # What a swap does to the generations.
        for number, status in ((1, "retained"), (swapped.generation, "active")):
            await swap.execute(
                text("UPDATE refold.generations SET status = :status WHERE generation = :number"),
                {"status": status, "number": number},
            )
        await swap.commit()
        await ending
    async with database.engine.connect() as connection:
        active = await generations.active(connection, "counters")
    assert active is not None
    assert active.generation == swapped.generation


async def _is_waiting(database: Database) -> bool:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with database.engine.connect() as connection:
        return bool(await connection.scalar(text(waiting)))


@pytest.mark.usefixtures("counters_built")
async def test_planning_that_comes_too_late_leaves_no_keys(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run has ended while it selected them: nobody else would remove them."""

    async def ended_meanwhile(*arguments: Any, **more: Any) -> Preview:
        found = await preview(*arguments, **more)
        await client.get_workflow_handle(f"Backfill/{queue(database)}").terminate()
        await end_run(
            database.engine,
            run_id=arguments[2].run_id,
            projection="counters",
            status=RunStatus.FAILED,
            why=Why(error="terminated"),
        )
        return found

    async with working(client, database, registry_of(counters())):
        monkeypatch.setattr("refold.engine.planning.backfill.preview", ended_meanwhile)
        with pytest.raises(WorkflowFailureError):
            await run(client, database, "Backfill", "counters", from_position=1)
    async with database.engine.connect() as connection:
        left = await connection.scalar(text("SELECT count(*) FROM refold.selected_keys"))
    assert left == 0
