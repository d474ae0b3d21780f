"""Whether this process has the keys of what runs: looked at before it says something to it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.service import RPCError

from refold.errors import UnreadablePayload
from refold.runtime.payloads.codec import EncryptingCodec, KeylessCodec

_LOOKED_AT = 3


@dataclass(frozen=True)
class Seen:
    """What was seen of workflows that run.

    Attributes:
        readable: How many can be read.
        unreadable: Why the others cannot, one each; it names the workflow.
    """

    readable: int
    unreadable: list[str]


async def look(client: Client, task_queue: str, most: int) -> Seen:
    """Looks at the requests of workflows that run on a task queue, of the latest ones.

    Args:
        client: Temporal.
        task_queue: The workers'.
        most: How many are looked at.

    Raises:
        RPCError: The server does not answer, or does not permit the question.
    """
    query = f"TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running'"
    seen, unreadable = 0, []
    async for execution in client.list_workflows(query, limit=most):
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        async for event in handle.fetch_history_events(page_size=1):
            given = event.workflow_execution_started_event_attributes.input.payloads
            try:
                await client.data_converter.decode(given)
                seen += 1
            except UnreadablePayload as error:
                unreadable.append(f"{execution.id}: {error}")
            break
    return Seen(seen, unreadable)


async def require_readable(client: Client, task_queue: str) -> None:
    """Requires that some of what runs can be read here, as far as the server shows it.

    Without the key, what is sent would stand in Temporal's history plain; with another key than the
    workers', a run would wait for somebody to bring it.

    Raises:
        UnreadablePayload: None of the latest can.
    """
    if not isinstance(client.data_converter.payload_codec, (EncryptingCodec, KeylessCodec)):
        return
    # Who may start workflows may not be permitted to list them.
    with contextlib.suppress(RPCError):
        seen = await look(client, task_queue, _LOOKED_AT)
        # A single one may be somebody else's slip, which is to hold nobody up.
        if seen.unreadable and not seen.readable:
            raise UnreadablePayload(seen.unreadable[0])
