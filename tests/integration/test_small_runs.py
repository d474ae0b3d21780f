"""What a small run is made of: few steps, each only where there is something to do."""

from __future__ import annotations

from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from refold.engine.live import unkept
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import assert_oracle, last, start, working, write


async def _steps(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """A run's steps, in order, without the looks at one that takes long here and now."""
    history = await handle.fetch_history()
    kinds = [event.event_type for event in history.events]
    # Nobody has told the workflow that nothing is in its way.
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED not in kinds
    names = [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    return [name for name in names if name != "watch_progress"]


async def test_each_run_has_the_steps_that_it_needs(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    projection = counters()
    await write(database.engine, some(20))
    async with working(client, database, registry_of(projection)):
        await _a_run_that_cannot_drop_what_need_not_be_kept_has_worked(
            client, database, monkeypatch
        )
        await assert_oracle(database.engine, projection)
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        done = await handle.result()
        assert done.events_processed == await last(database)
        assert await _steps(handle) == [
            "begin_run",
            "refold_segment",
            "build_indexes",
            "verify_generation",
            "follow_segment",
            "prepare_swap",
            "swap_generation",
            "finish_run",
        ]
        repair = {"projection": "counters", "from_position": 90}
        handle = await start(client, database, "Backfill", repair)
        await handle.result()
        assert await _steps(handle) == ["begin_run", "refold_segment", "finish_run"]
        handle = await start(client, database, "Rollback", {"projection": "counters"})
        await handle.result()
        assert await _steps(handle) == [
            "begin_rollback",
            "follow_segment",
            "prepare_swap",
            "swap_generation",
            "finish_run",
        ]
        # The live table is behind: a repair brings it to the head.
        await write(database.engine, some(20, start_at=500))
        handle = await start(client, database, "Backfill", repair)
        result = await handle.result()
        assert "follow_segment" in await _steps(handle)
    assert result.position == await last(database)
    await assert_oracle(database.engine, projection)


async def _a_run_that_cannot_drop_what_need_not_be_kept_has_worked(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*given: Any, **more: Any) -> list[int]:
        raise LookupError("no such drawer")

    with monkeypatch.context() as patched:
        patched.setattr(unkept, "drop_expired", refuse)
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        done = await handle.result()
    assert done.status == "completed"
    assert done.events_processed == await last(database)
    assert done.note is not None
    assert "what need not be kept is still there: LookupError: no such drawer" in done.note
