"""A worker process with a thread that does not return says where, and still can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowFailureError

from tests.support.databases import Database
from tests.support.processes import WorkerProcess, worker_environment
from tests.support.runs import start, write


async def test_a_worker_with_a_thread_that_is_left_ends_well(
    client: Client, database: Database, tmp_path: Path
) -> None:
    await write(database.engine, [("s1", "Added", {"key": "k", "n": 1})])
    environment = worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.stuck",
        REFOLD_HANDLER_SECONDS="0.5",
    )
    worker = WorkerProcess(environment, tmp_path / "worker.log")
    try:
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert "support/stuck.py:" in str(failed.value.cause)
        assert await worker.terminate(60) == 0
    finally:
        if worker.running:
            worker.kill()
    assert "a thread is left at" in worker.output
    assert "1 of them by now" in worker.output
