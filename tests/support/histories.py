"""What Temporal keeps of workflows, as bytes that can be searched: payloads are base64 in JSON."""

from __future__ import annotations

from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle


async def kept(handle: WorkflowHandle[Any, Any]) -> bytes:
    """A workflow's history, its payloads and failures as they are."""
    history = await handle.fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


async def steps_of(handle: WorkflowHandle[Any, Any]) -> list[str]:
    """The names of the activities that a workflow has begun, in their order.

    A phase may be over before anybody asks for it; what the history says stays.
    """
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in (await handle.fetch_history()).events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]


async def all_kept(client: Client) -> bytes:
    """The histories of all workflows that the server knows, and what is pending in them."""
    found = b""
    async for execution in client.list_workflows():
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        described = await handle.describe()
        found += await kept(handle) + described.raw_description.SerializeToString()
    return found
