"""What crosses Temporal: whether it is encrypted, and whether it can be read here."""

from __future__ import annotations

from refold.cli.doctor.finding import Finding, ok, wrong
from refold.cli.doctor.look import Look
from refold.errors import UnreadablePayload
from refold.runtime.payloads.keys import load_keys

# A sample: all that runs has been started lately, or by processes with one key file.
_MOST = 10


async def encryption(look: Look) -> list[Finding]:
    """Whether this process has the keys of what runs."""
    key_file = look.settings.payload_key_file
    if key_file is None:
        said = "nothing is encrypted from here"
    else:
        keys = load_keys(key_file)
        how = "nothing yet" if keys.first is None else f"with key {keys.first!r}"
        said = f"encrypts {how}, decrypts with {', '.join(keys.by_id)}"
    query = f"TaskQueue = '{look.settings.task_queue}' AND ExecutionStatus = 'Running'"
    seen = 0
    async for execution in look.client.list_workflows(query, limit=_MOST):
        handle = look.client.get_workflow_handle(execution.id, run_id=execution.run_id)
        async for event in handle.fetch_history_events(page_size=1):
            given = event.workflow_execution_started_event_attributes.input.payloads
            try:
                await look.client.data_converter.decode(given)
            except UnreadablePayload as error:
                return [wrong(f"{execution.id}: {error}")]
            break
        seen += 1
    return [ok(f"{said}; {seen} running workflows can be read" if seen else said)]
