"""How the run that holds a lease stands: alive, ended without cleaning up, or not ours to judge."""

from __future__ import annotations

from enum import Enum, auto

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.installations import installation_of
from refold.store.leases import Lease


class LeaseStanding(Enum):
    """What is known of a lease's run."""

    ALIVE = auto()
    """Its workflow runs, whatever it waits for."""

    ENDED = auto()
    """Its workflow has ended, or somebody who may has said that it is over."""

    ELSEWHERE = auto()
    """It is of another installation: whether it runs cannot be seen from here."""


async def standing_of(client: Client, lease: Lease) -> LeaseStanding:
    """How a lease's run stands, as far as Temporal tells.

    Raises:
        RPCError: Temporal does not answer.
    """
    if lease.released_by is not None:
        return LeaseStanding.ENDED
    own = await installation_of(client)
    if not own.owns(lease):
        return LeaseStanding.ELSEWHERE
    try:
        found = await client.get_workflow_handle(lease.workflow_id).describe()
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        if lease.installation is None or own.id is None:
            # The name alone does not say that it was of this server.
            return LeaseStanding.ELSEWHERE
        return LeaseStanding.ENDED if lease.silent else LeaseStanding.ALIVE
    first_run_id = found.raw_description.workflow_execution_info.first_run_id
    runs = found.status == WorkflowExecutionStatus.RUNNING and first_run_id == lease.run_id
    return LeaseStanding.ALIVE if runs else LeaseStanding.ENDED
