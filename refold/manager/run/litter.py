"""What Temporal's list is kept free of: plans, and requests that were refused and told so."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sqlalchemy.exc import DBAPIError
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from refold.errors.codes import REFUSALS
from refold.manager.connection import Connection
from refold.manager.run.started_run import StartedRun
from refold.store import leases
from refold.store.leases import Lease


async def require_free(connection: Connection, name: str, workflow_id: str) -> None:
    """Refuses what another run's hold would refuse, before anything is started.

    Only a run that Temporal says is running counts: how any other stands, a worker finds out.

    Args:
        connection: Without a database, or with one that does not answer, nobody knows.
        name: The projection.
        workflow_id: What is to be started; Temporal itself refuses a second one of that id.

    Raises:
        ProjectionBusy: Another run holds the projection.
    """
    if not connection.has_database:
        return
    try:
        async with connection.connected() as looking:
            lease = await leases.holder(looking, name)
    except (OSError, DBAPIError):
        return
    if lease is not None and lease.workflow_id != workflow_id:
        with suppress(RPCError):
            if await _runs(connection.client, lease):
                raise leases.busy(lease)


async def _runs(client: Client, lease: Lease) -> bool:
    if lease.released_by is not None or lease.namespace != client.namespace:
        return False
    found = await client.get_workflow_handle(lease.workflow_id).describe()
    first_run_id = found.raw_description.workflow_execution_info.first_run_id
    return found.status is WorkflowExecutionStatus.RUNNING and first_run_id == lease.run_id


async def forget_if_refused(client: Client, run: StartedRun, error: WorkflowFailureError) -> None:
    """Deletes a run from the list that was refused before it had a plan; its caller is told why.

    Others, that began and failed, stay.
    """
    if not isinstance(error.cause, ApplicationError) or error.cause.type not in REFUSALS:
        return
    handle = client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
    plan: Any = ...
    with suppress(RPCError):  # nobody answers: it stays
        plan = await handle.query("plan")
    if plan is None:
        await forget(client, run)


async def forget(client: Client, run: StartedRun) -> None:
    """Deletes a run from the list; who may not, leaves it there."""
    asked = DeleteWorkflowExecutionRequest(namespace=client.namespace)
    asked.workflow_execution.workflow_id = run.workflow_id
    asked.workflow_execution.run_id = run.run_id
    with suppress(RPCError):
        await client.workflow_service.delete_workflow_execution(asked)
