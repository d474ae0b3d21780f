"""Which workflows run, asked of Temporal."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode, ServiceClient

from refold.engine.lifecycle.lease_standing import Installation, LeaseStanding
from refold.store.leases import Lease

# Without the right to ask, or a server that does not answer this, only the name is known.
_NEVER_TOLD = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)

_known: WeakKeyDictionary[ServiceClient, dict[str, Installation]] = WeakKeyDictionary()


class TemporalExecutions:
    """The executions of one namespace; see `Executions`.

    Args:
        client: Temporal.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def installation(self) -> Installation:
        """The installation that the client talks to; the server is asked once.

        Raises:
            RPCError: The server does not answer.
        """
        client = self._client
        known = _known.setdefault(client.service_client, {})
        if client.namespace not in known:
            known[client.namespace] = Installation(client.namespace, await _asked(client))
        return known[client.namespace]

    async def standing(self, lease: Lease) -> LeaseStanding:
        """How a lease's run stands, as far as Temporal tells.

        Raises:
            RPCError: The server does not answer.
        """
        if lease.released_by is not None:
            return LeaseStanding.ENDED
        own = await self.installation()
        if not own.owns(lease):
            return LeaseStanding.ELSEWHERE
        try:
            found = await self._client.get_workflow_handle(lease.workflow_id).describe()
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


async def _asked(client: Client) -> str | None:
    try:
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status in _NEVER_TOLD:
            return None
        raise
    return described.namespace_info.id or None
