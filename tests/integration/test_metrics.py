"""Metrics of a worker, as Prometheus scrapes them: each with a value that the test has caused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from tests.support.databases import Database
from tests.support.events import some
from tests.support.letters import BAD
from tests.support.live import ended_after, live, until_position, until_status
from tests.support.ports import free_port
from tests.support.processes import WorkerProcess, worker_environment, worker_processes
from tests.support.runs import run, start, until, write
from tests.support.scraping import documented, scraped

_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Page:
    """What was scraped last."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def value(self, name: str, **labels: str) -> float:
        """A series' value, its labels being among those given; the sum where several fit."""
        self.seen = await scraped(self._port)
        fitting = [
            value
            for found, value in self.seen.get(name, {}).items()
            if labels.items() <= dict(found).items()
        ]
        return sum(fitting) if fitting else -1.0

    async def until(self, name: str, is_it: Callable[[float], bool], **labels: str) -> float:
        """Waits for a value."""
        latest: list[float] = []

        async def reached() -> bool:
            latest.append(await self.value(name, **labels))
            return is_it(latest[-1])

        try:
            await until(reached, 20)
        except TimeoutError:
            pytest.fail(f"{name} {labels}: {latest[-1]} after 20 s, of {self.seen.get(name)}")
        return latest[-1]


def measured(client: Client, database: Database, port: int, **more: str) -> dict[str, str]:
    return worker_environment(
        client,
        database,
        REFOLD_PROJECTIONS="tests.support.measured",
        OTEL_METRICS_EXPORTER="prometheus",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(port),
        OTEL_METRIC_EXPORT_INTERVAL="300",
        **more,
    )


async def test_each_documented_metric_has_a_value_that_was_caused(
    client: Client, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    page, of = Page(port), {"refold_projection": "counters"}
    await write(database.engine, some())
    async with AsyncExitStack() as stack:
        workers = stack.enter_context(worker_processes(measured(client, database, port), tmp_path))
        workers.start()
        await run(client, database, "Rebuild", "counters")
        refolded = {**of, "refold_operation": "refold"}
        assert await page.value("refold_events_processed_total", **refolded) == 200
        assert await page.value("refold_batch_duration_seconds_count", **refolded) >= 1
        assert await page.value("refold_swap_hold_duration_seconds_count", **of) == 1
        await page.until("refold_generation_age_seconds", lambda age: 0 < age < 60, **of)

        await page.until("refold_projection_lag", lambda lag: lag == 0, **of)
        await write(database.engine, [*some(1, 3), BAD])
        await page.until("refold_projection_lag", lambda lag: lag == 4, **of)
        await page.until("refold_projection_lag_duration_seconds", lambda age: age > 0, **of)

        await stack.enter_async_context(ended_after(client, "projection/counters"))
        handle = await stack.enter_async_context(live(client, database))
        await until_status(handle, "live")
        await page.until("refold_projection_lag", lambda lag: lag == 0, **of)
        await page.until("refold_dead_letters", lambda letters: letters == 1, **of)
        await page.until("refold_checkpoint_age_seconds", lambda age: 0 <= age < 30, **of)

        async with database.engine.connect() as connection:
            await connection.execute(text("LOCK TABLE counters"))
            await write(database.engine, some(1, 1))
            await page.until(
                "refold_lock_wait_time_seconds_total",
                lambda seconds: seconds >= 1,
                refold_step="follow_live",
            )
            for pid in (await connection.execute(text(_WAITING))).scalars():
                await connection.execute(text(f"SELECT pg_terminate_backend({pid})"))
            await page.until(
                "refold_step_retries_total", lambda tries: tries >= 1, refold_step="follow_live"
            )
        await until_position(database, 205)

        with pytest.raises(WorkflowFailureError):
            await run(client, database, "Rebuild", "counters", on_poison="fail")
        failed = {"refold_step": "refold_segment", "error_type": "PoisonEvent"}
        assert await page.value("refold_step_failures_total", **failed) >= 1

        asked = {"projection": "counters", "approval": "manual"}
        rebuild = await start(client, database, "Rebuild", asked)
        await page.until("refold_approval_age_seconds", lambda age: age > 0, **of)
        await rebuild.signal("approve")
        await asyncio.wait_for(rebuild.result(), 30)
        await page.until("refold_approval_age_seconds", lambda age: age == -1, **of)

        base = {name.removesuffix("_count").removesuffix("_sum") for name in page.seen}
        told = {name for name in base if not name.endswith(("_bucket", "_created"))}
        assert set(documented().values()) == told | {"refold_approval_age_seconds"}


async def test_without_its_settings_nothing_is_served_and_nothing_is_looked_at(
    client: Client, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    environment = measured(client, database, port, OTEL_SDK_DISABLED="true")
    with worker_processes(environment, tmp_path) as workers:
        worker = workers.start()
        await until_says(worker, "working on task queue")
        with pytest.raises(httpx.ConnectError):
            await scraped(port)
        assert "metrics" not in worker.output


async def until_says(worker: WorkerProcess, words: str) -> None:
    async def said() -> bool:
        return words in worker.output

    await until(said)


async def test_a_port_that_is_taken_ends_the_worker_in_a_line(
    client: Client, database: Database, tmp_path: Path
) -> None:
    port = free_port()
    taken = await asyncio.start_server(lambda reader, writer: None, "localhost", port)
    async with taken:
        with worker_processes(measured(client, database, port), tmp_path) as workers:
            worker = workers.start()
            assert await worker.ended() == 1
        assert f"cannot serve metrics at localhost:{port}" in worker.output
        assert "OTEL_EXPORTER_PROMETHEUS_PORT" in worker.output
        assert "Traceback" not in worker.output
