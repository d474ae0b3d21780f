"""Two worker processes share a run's partitions: neither is left without."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from refold.runtime.settings import Settings
from refold.worker.plugin import RefoldPlugin
from refold.worker.process import worker_of
from tests.support.counting import counted_events
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import start, write

RUNS = 6


async def test_a_process_asks_for_two_activities_at_a_time(
    client: Client, database: Database
) -> None:
    settings = Settings(database_url=database.url)
    worker = worker_of(client, settings, RefoldPlugin(settings=settings))
    polls = worker.config(active_config=True)["activity_task_poller_behavior"]
    assert getattr(polls, "maximum", None) == 2


async def segments(handle: WorkflowHandle[object, object]) -> Counter[str]:
    """How many segments each worker has begun."""
    history = await handle.fetch_history()
    refolds = {
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
        and event.activity_task_scheduled_event_attributes.activity_type.name == "refold_segment"
    }
    begun = (
        event.activity_task_started_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
    )
    return Counter(one.identity for one in begun if one.scheduled_event_id in refolds)


@pytest.mark.soak
async def test_both_processes_fold_in_every_run(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await write(database.engine, counted_events(50))
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.counting",
        COUNT_FILE=str(tmp_path / "folds"),
    )
    with worker_processes(environment, tmp_path) as workers:
        for _ in range(2):
            workers.start()
        for number in range(RUNS):
            handle = await start(
                client,
                database,
                "Rebuild",
                {"projection": "counting"},
                workflow_id=f"shared/{number}/{database.url}",
            )
            await handle.result()
            if number:  # the second process may not have been there for the first
                assert len(await segments(handle)) == 2
