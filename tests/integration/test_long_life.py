"""A live projection runs for ever: its history never grows beyond bounds, and no signal is lost."""

from __future__ import annotations

import asyncio
from shutil import which
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment

from tests.conftest import _beside_python
from tests.replay.short_history import continuations, short_history_server
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import live, recorded, until_position, until_status
from tests.support.runs import run, until, working, write
from tests.support.soaking import soak

MOST_EVENTS = 4096
WAVE = 250


async def _wake(client: Client, database: Database, wakeups: int, requests: int) -> list[int]:
    """Wakes a live projection so often; the lengths of the histories that this makes."""
    await write(database.engine, some())
    async with working(client, database, registry_of(counters())):
        await run(client, database, "Backfill", "counters")
        async with live(client, database) as handle:
            await until_status(handle, "live")
            few = asyncio.Semaphore(20)

            async def send(number: int) -> None:
                async with few:
                    if number % (wakeups // requests):
                        await handle.signal("restart")
                        return
                    # The correlation id tells which request it is.
                    request = {"correlation_id": f"c-{number}"}
                    await handle.signal("ProjectionRestartRequested", request)

            # In waves: while requests come, the history is not begun anew.
            for wave in range(0, wakeups, WAVE):
                numbers = range(wave, min(wave + WAVE, wakeups))
                await asyncio.gather(*[send(number) for number in numbers])

                async def all_there(upto: int = numbers.stop) -> bool:
                    sent = len(range(0, upto, wakeups // requests))
                    return len(await _requested(database)) >= sent

                await until(all_there, 120)
            await write(database.engine, some(start_at=300))
            await until_position(database, 400)
            await handle.signal("stop")
            await until_status(handle, "stopped")
            chain = await continuations(client, handle)
            lengths = [(await link.describe()).history_length for link in chain]
    asked = await _requested(database)
    wanted = {f"c-{number}" for number in range(0, wakeups, wakeups // requests)}
    assert sorted(asked) == sorted(wanted), "each arrived, once"
    return lengths


async def _requested(database: Database) -> list[str]:
    found = await recorded(database)
    asked = [e for e in found if e.type == "ProjectionRestartRequested"]
    return [str(event.correlation_id) for event in asked]


async def test_signals_around_continue_as_new_all_arrive(database: Database) -> None:
    async with await short_history_server() as environment:
        lengths = await _wake(environment.client, database, 60, 20)
    assert len(lengths) > 1


@pytest.mark.soak
async def test_a_thousand_wake_ups(client: Client, database: Database) -> None:
    lengths = await _wake(client, database, 1000, 250)
    print(f"histories: {lengths} events")
    assert len(lengths) > 1
    assert max(lengths) <= MOST_EVENTS


@pytest.mark.parametrize("minutes", [10, *soak(30)])
async def test_idling(database: Database, minutes: int) -> None:
    # Without a generation to follow it looks for one every ten seconds; the clock is turned on.
    async with (
        await WorkflowEnvironment.start_time_skipping(
            test_server_existing_path=which("temporal-test-server", path=_beside_python()),
            data_converter=pydantic_data_converter,
        ) as environment,
        working(environment.client, database, registry_of(counters())),
        live(environment.client, database) as handle,
    ):
        began = await environment.get_current_time()
        await environment.sleep(minutes * 60)
        passed = await environment.get_current_time() - began
        assert passed.total_seconds() >= minutes * 60
        described = await handle.describe()
        assert described.status == WorkflowExecutionStatus.RUNNING
        looks = await _looks(handle)
        assert looks >= 100 * minutes / 30, "it has been looking all the time"
        assert described.history_length <= MOST_EVENTS


async def _looks(handle: Any) -> int:
    history = await handle.fetch_history()
    scheduled = "activity_task_scheduled_event_attributes"
    return sum(event.HasField(scheduled) for event in history.events)
