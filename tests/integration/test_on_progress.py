"""Progress by callback: plain or async, told to the end, and harmless whatever it does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio.client import Client

from refold.manager import ProjectionManager, RunFailed
from refold.messages.run.life import Progress
from refold.requests.criteria import Criteria
from refold.requests.runs import BackfillRequest
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.live import ended_after
from tests.support.runs import assert_oracle, queue, working, write

pytestmark = pytest.mark.usefixtures("counters_built")

IDS = [f"{kind}/counters" for kind in ("backfill", "rebuild", "rollback")]
SLOWLY = BackfillRequest(projection="counters", events_per_second=100, batch_size=20)
NEW = BackfillRequest(projection="counters", criteria=Criteria.INCREMENTAL_UPDATE)


@asynccontextmanager
async def managed(client: Client, database: Database) -> AsyncIterator[ProjectionManager]:
    async with (
        ended_after(client, *IDS),
        working(client, database, registry_of(counters(partitions=2))),
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
    ):
        yield manager


async def test_a_plain_function_is_told_of_a_run_as_it_goes(
    client: Client, database: Database
) -> None:
    told: list[Progress] = []
    async with managed(client, database) as manager:
        result = await manager.backfill("counters", SLOWLY, on_progress=told.append)
    counts = [one.events_processed for one in told]
    assert counts == sorted(counts)
    assert len([count for count in counts if 0 < count < 200]) >= 1, counts
    assert (told[-1].status, told[-1].percent_complete) == ("completed", 100)
    assert result.status == "completed"


async def test_an_async_function_is_awaited_and_told_the_end(
    client: Client, database: Database
) -> None:
    told: list[str] = []

    async def tell(progress: Progress) -> None:
        await asyncio.sleep(0.8)  # slower than progress comes
        told.append(progress.status)

    async with managed(client, database) as manager:
        await manager.rebuild("counters", on_progress=tell)
        assert told[-1] == "completed"
        told.clear()
        await manager.rollback_projection("counters", on_progress=tell)
        assert told[-1] == "rolled_back"


async def test_what_it_raises_harms_nothing_and_is_told_once(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    called = 0

    def broken(progress: Progress) -> None:
        nonlocal called
        called += 1
        raise RuntimeError("nobody listens")

    with caplog.at_level(logging.ERROR, "refold.manager"):
        async with managed(client, database) as manager:
            result = await manager.backfill("counters", SLOWLY, on_progress=broken)
    assert result.status == "completed"
    assert called > 1
    mine = [line for line in caplog.records if line.name.startswith("refold.manager")]
    assert [line.getMessage() for line in mine] == [
        "on_progress of backfill/counters raised; the run goes on, and it is called again"
    ]
    await assert_oracle(database.engine, counters())


async def test_one_that_never_returns_is_given_up(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.manager.run.watching._LAST_SECONDS", 0.5)
    never = asyncio.Event()

    async def hang(progress: Progress) -> None:
        await never.wait()

    async with managed(client, database) as manager:
        result = await asyncio.wait_for(manager.backfill("counters", NEW, on_progress=hang), 60)
    assert result.status == "completed"


async def test_a_failure_is_told_and_raised(client: Client, database: Database) -> None:
    told: list[Progress] = []
    async with managed(client, database) as manager:
        await write(database.engine, [("bad", "Broken", {"key": "k001"})])
        with pytest.raises(RunFailed, match="event 201"):
            await manager.backfill("counters", NEW, on_progress=told.append)
    assert told[-1].status == "failed"
