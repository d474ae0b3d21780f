"""What Temporal's server has been given: search attributes, and one partition to take turns in."""

from __future__ import annotations

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import ListTaskQueuePartitionsRequest

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look
from refold.runtime.temporal.search_attributes import missing


async def search_attributes(look: Look) -> list[Finding]:
    """Whether runs can be found in Temporal's list."""
    names = await missing(look.client)
    if not names:
        return [ok("all of Refold's are there")]
    made = " ".join(f"--name {name} --type Keyword" for name in names)
    return [
        wrong(
            f"namespace {look.client.namespace} has no {', '.join(names)}: runs cannot be filtered "
            "by them in Temporal's list",
            "refold migrate; or, where that is not permitted, temporal operator search-attribute "
            f"create -n {look.client.namespace} {made}",
        )
    ]


async def fairness(look: Look) -> list[Finding]:
    """Whether tenants and projections can take turns on the task queue."""
    queue = look.settings.task_queue
    found = await look.client.workflow_service.list_task_queue_partitions(
        ListTaskQueuePartitionsRequest(
            namespace=look.client.namespace, task_queue=TaskQueue(name=queue)
        )
    )
    count = len(found.activity_task_queue_partitions)
    if count <= 1:
        said = f"task queue {queue!r} has one partition; that matching.enableFairness is on is not"
        return [ok(f"{said} told by the server")]
    return [
        mind(
            f"task queue {queue!r} has {count} partitions: tenants and projections take turns "
            "within each alone, and some wait long when all workers are busy",
            "set matching.numTaskqueueWritePartitions to 1 and matching.enableFairness to true in "
            "the server's dynamic configuration, as in deploy/temporal/dynamicconfig.yaml",
        )
    ]
