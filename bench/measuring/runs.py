"""What the history of a run tells: how long its steps took, how long it locked readers out."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from refold import ProjectionManager
from refold.manager.runs import StartedRun
from refold.messages.run.endings import Swapped


@dataclass
class Told:
    """A run, as its history has it.

    Attributes:
        whole: Seconds from its start to its end, as whoever asked has seen it.
        spans: Seconds from when the first step of a kind was scheduled to when the last one ended,
            by activity.
        events: How many events the history has.
        size: Bytes of it.
        hold_milliseconds: How long the swap locked readers out; None when it swapped nothing.
    """

    whole: float
    spans: dict[str, float] = field(default_factory=dict)
    events: int = 0
    size: int = 0
    hold_milliseconds: float | None = None


async def timed(
    client: Client, manager: ProjectionManager, starting: Awaitable[StartedRun]
) -> Told:
    """Starts a run, waits for its end, and tells of it."""
    began = time.perf_counter()
    run = await starting
    await manager.result(run)
    whole = time.perf_counter() - began
    return await _told(client, client.get_workflow_handle(run.workflow_id), whole)


async def _told(client: Client, handle: WorkflowHandle[Any, Any], whole: float) -> Told:
    history = await handle.fetch_history()
    described = await handle.describe()
    told = Told(
        whole,
        events=len(history.events),
        size=described.raw_description.workflow_execution_info.history_size_bytes,
    )
    kinds: dict[int, str] = {}
    first: dict[str, datetime] = {}
    last: dict[str, datetime] = {}
    for event in history.events:
        at = event.event_time.ToDatetime()
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            kind = event.activity_task_scheduled_event_attributes.activity_type.name
            kinds[event.event_id] = kind
            first.setdefault(kind, at)
        elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
            completed = event.activity_task_completed_event_attributes
            kind = kinds[completed.scheduled_event_id]
            last[kind] = at
            if kind == "swap_generation":
                payloads = completed.result.payloads
                (swapped,) = await client.data_converter.decode(payloads, [Swapped])
                told.hold_milliseconds = swapped.hold_milliseconds
    told.spans = {kind: (at - first[kind]).total_seconds() for kind, at in last.items()}
    return told
