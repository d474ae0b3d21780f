"""A team's own worker: Refold comes beside its workflows and activities in one argument."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from typing import Any

import pytest
from sqlalchemy import select, text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import Replayer, Worker

import refold
from refold import RefoldPlugin
from refold.errors import NotMigrated
from refold.store.schema import deployments
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.events import some
from tests.support.ports import free_port
from tests.support.runs import assert_oracle, queue, run, until, write
from tests.support.soaking import soak
from tests.support.team import Greeting, greet


def plugin(database: Database, **given: Any) -> RefoldPlugin:
    return RefoldPlugin(
        settings=database.settings, **{"projections": ["tests.support.team_read_models"], **given}
    )


async def with_plugin(client: Client, *plugins: RefoldPlugin) -> Client:
    """A client as a team makes it, with the SDK's own data converter."""
    return await Client.connect(client.service_client.config.target_host, plugins=plugins)


def teams_worker(client: Client, database: Database, **more: Any) -> Worker:
    return Worker(
        client, task_queue=queue(database), workflows=[Greeting], activities=[greet], **more
    )


async def greeting(client: Client, database: Database, name: str) -> str:
    place = queue(database)
    return await client.execute_workflow(
        Greeting.run, name, id=f"greeting/{place}/{name}", task_queue=place
    )


async def present(database: Database) -> list[tuple[str, int]]:
    async with database.engine.connect() as connection:
        found = await connection.execute(select(deployments.c.projection, deployments.c.version))
        return [tuple(row) for row in found]


@pytest.mark.parametrize("place", ["client", *soak("worker")])
async def test_a_teams_worker_rebuilds_beside_its_own_work(
    client: Client, database: Database, place: str
) -> None:
    await write(database.engine, some())
    refold = plugin(database)
    own = await with_plugin(client, *([refold] if place == "client" else []))
    more = {} if place == "client" else {"plugins": [refold]}
    async with teams_worker(own, database, **more):
        assert await greeting(own, database, "you") == "hello, you"

        async def is_present() -> bool:
            return await present(database) == [("counters", 1)]

        await until(is_present)  # the chore of that name has seen to it
        await run(own, database, "Rebuild", "counters")
        await assert_oracle(database.engine, counters())
        with pytest.raises(WorkflowFailureError) as failed:
            await greeting(own, database, "")
    assert await present(database) == []
    # As without Refold: whole, and not judged.
    activity_failed = failed.value.cause
    assert isinstance(activity_failed, ActivityError)
    error = activity_failed.cause
    assert isinstance(error, ApplicationError)
    assert (error.type, error.non_retryable) == ("ValueError", False)
    assert "hunter2" in error.message

    replayer = Replayer(workflows=[Greeting], plugins=[plugin(database)])
    for workflow_id in (f"Rebuild/{queue(database)}", f"greeting/{queue(database)}/you"):
        await replayer.replay_workflow(
            await client.get_workflow_handle(workflow_id).fetch_history()
        )


@pytest.mark.parametrize(("said", "most"), [({}, 11), ({"max_concurrent_activities": 3}, 3)])
async def test_what_a_team_says_of_its_worker_stays(
    client: Client, database: Database, said: dict[str, Any], most: int
) -> None:
    worker = teams_worker(client, database, plugins=[plugin(database)], **said)
    assert worker.config(active_config=True)["max_concurrent_activities"] == most


async def test_a_worker_on_a_database_that_is_not_migrated_ends(
    client: Client, database: Database
) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA refold CASCADE"))
    own = await with_plugin(client, plugin(database))
    with pytest.raises(NotMigrated):
        async with teams_worker(own, database):
            await asyncio.sleep(60)
    with pytest.raises(NotMigrated):
        await teams_worker(own, database).run()


async def test_a_database_that_does_not_answer_holds_up_refold_alone(
    client: Client, database: Database
) -> None:
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    own = await with_plugin(client, plugin(database, database_url=nowhere))
    async with teams_worker(own, database):
        backfill = await own.start_workflow(
            "Backfill",
            {"projection": "counters"},
            id=f"Backfill/{queue(database)}",
            task_queue=queue(database),
        )
        assert await greeting(own, database, "you") == "hello, you"
        began = time.monotonic()
    assert time.monotonic() - began < 10
    async with teams_worker(client, database, plugins=[plugin(database)]):
        await backfill.result()  # left as it was, for a worker that can


def test_importing_refold_stays_cheap() -> None:
    code = (
        "import sys, refold\n"
        "assert not any(name.startswith('refold.worker') for name in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert RefoldPlugin.__name__ in refold.__all__
