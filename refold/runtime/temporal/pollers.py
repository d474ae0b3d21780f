"""Which processes ask a Temporal server for work."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

_TIMEOUT = timedelta(seconds=2)
_KINDS = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


class Pollers:
    """The workers of a task queue, for a program that is not asynchronous.

    Args:
        address: ``host:port`` of the server.
        task_queue: Which one.
    """

    def __init__(self, address: str, task_queue: str) -> None:
        self._address = address
        self._task_queue = task_queue
        self._runner = asyncio.Runner()
        self._client: Client | None = None

    def have(self, pid: int) -> bool:
        """Whether a process of this machine has asked for workflow tasks and for activities."""
        # A server that does not answer now will be asked again.
        with suppress(RPCError, RuntimeError):
            return self._runner.run(self._have(f"{pid}@{socket.gethostname()}"))
        return False

    async def _have(self, identity: str) -> bool:
        if self._client is None:
            self._client = await Client.connect(self._address)
        for kind in _KINDS:
            described = await self._client.workflow_service.describe_task_queue(
                DescribeTaskQueueRequest(
                    namespace=self._client.namespace,
                    task_queue=TaskQueue(name=self._task_queue),
                    task_queue_type=kind,
                ),
                timeout=_TIMEOUT,
            )
            if all(poller.identity != identity for poller in described.pollers):
                return False
        return True
