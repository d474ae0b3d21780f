"""Which Temporal a run is of: several may work on one database, each ends only what is its own."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode, ServiceClient

from refold.store.leases import Lease

# Without the right to ask, or a server that does not answer this, only the name is known.
_NEVER_TOLD = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED)


@dataclass(frozen=True)
class Installation:
    """A namespace of a Temporal server.

    Attributes:
        namespace: Its name, which many servers have.
        id: The namespace's own id, which no other has, and which it keeps when the server is
            upgraded, moved or failed over; None when the server does not tell.
    """

    namespace: str
    id: str | None

    def owns(self, lease: Lease) -> bool:
        """Whether the run that holds a lease is of this installation."""
        if lease.installation is None or self.id is None:
            return lease.namespace == self.namespace
        return lease.installation == self.id


_known: WeakKeyDictionary[ServiceClient, dict[str, Installation]] = WeakKeyDictionary()


async def installation_of(client: Client) -> Installation:
    """The installation that a client talks to; the server is asked once.

    Raises:
        RPCError: The server does not answer.
    """
    known = _known.setdefault(client.service_client, {})
    if client.namespace not in known:
        known[client.namespace] = Installation(client.namespace, await _asked(client))
    return known[client.namespace]


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
