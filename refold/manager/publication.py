"""Publishing a system event: recorded, or, when it asks for something, taken to its workflow."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid4, uuid5

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy

from refold.manager.known import require_known
from refold.messages.markdown import escaped
from refold.runtime.missing_rights import naming_rights
from refold.store import system_events
from refold.store.deployments import queue_of
from refold.system_events.events import SystemEvent


async def publish(
    client: Client,
    engine: AsyncEngine,
    event: SystemEvent,
    *,
    task_queue: str,
    key: str | None = None,
) -> str:
    """Publishes an event; what asks for something starts it, also when nothing runs yet.

    Args:
        client: A Temporal client.
        engine: The database.
        event: What happened, or what is asked for.
        task_queue: The task queue of Refold's workers.
        key: Published before under this key, it comes to nothing; None for always.

    Returns:
        Its correlation id: its own, or a new one.

    Raises:
        UnknownProjection: There is no projection of that name.
    """
    await require_known(engine, event.projection, queue_of(client.namespace, task_queue))
    made = uuid4() if key is None else uuid5(NAMESPACE_URL, key)
    correlation_id = event.correlation_id or str(made)
    correlated = event.model_copy(update={"correlation_id": correlation_id})
    if correlated.signal is None:
        async with naming_rights(engine), engine.begin() as connection:
            await system_events.record(connection, correlated, key=key)
        return correlation_id
    # Asked of a read model that is not live, it does not make it so: it stays stopped.
    await client.start_workflow(
        "Projection",
        {"projection": event.projection, "stopped": True},
        id=f"projection/{event.projection}",
        task_queue=task_queue,
        start_signal=correlated.signal,
        start_signal_args=[
            correlated.model_dump(mode="json", exclude_none=True),
            key or str(uuid4()),
        ],
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        static_summary=f"{escaped(event.projection)}, live",
    )
    return correlation_id
