"""A short share of `make load`: swaps under readers and appenders.

They work flat out in the soak; in the suite they rest, as other tests need the processors.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from bench import load
from refold.manager.projections import ProjectionManager
from tests.support.databases import Database
from tests.support.processes import worker_environment, worker_processes
from tests.support.runs import leftovers, queue
from tests.support.soaking import soak

ROWS = 1_000


# That an idle reader is named, and nobody waits for it, has a test without load, too.
@pytest.mark.parametrize(
    ("against_idle_reader", "rest"), [(False, 0.01), *soak((False, 0), (True, 0))]
)
async def test_readers_notice_nothing_of_rebuilds_and_rollbacks(
    client: Client, database: Database, tmp_path: Path, against_idle_reader: bool, rest: float
) -> None:
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    environment = worker_environment(client, database, REFOLD_PROJECTIONS="bench.loaded")
    seen = load.Seen()
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        await load.prepare(database.url, manager, ROWS)
        async with load.under_load(database.url, ROWS, seen, rest):
            for number in (1, 2):
                await load.swap_once(manager, number)
                assert await load.differing_rows(database.url) == 0
            if against_idle_reader:
                await load.swap_against_idle_reader(database.url, manager, seen)
                assert await load.differing_rows(database.url) == 0
        holds = load.hold_milliseconds(worker.output)
    print(f"{len(seen.times)} reads, longest {seen.longest:.0f} ms; locked out for {holds} ms")
    assert seen.problems == []
    if against_idle_reader:
        assert any("idle in transaction" in who for who in seen.blocked), seen.blocked
    assert len(holds) == 3 + against_idle_reader
    assert await leftovers(database.engine) == []
    async with database.engine.begin() as connection:
        await connection.execute(text(f"DROP OWNED BY {load.ROLE}"))
        await connection.execute(text(f"DROP ROLE {load.ROLE}"))
