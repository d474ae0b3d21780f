"""Who works: who polls the task queue, and which projections and versions each worker has."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Any

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest

from refold.cli.doctor.finding import Finding, mind, ok, wrong
from refold.cli.doctor.look import Look, Need
from refold.projection.registry import Registry
from refold.store import deployments
from refold.store.deployments import Shown

# A poll lasts a minute, and Temporal remembers those who are gone for some more.
_POLLED_SECONDS = 90.0
_KINDS = {
    "workflow tasks": TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    "activities": TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
}


async def workers(look: Look) -> list[Finding]:
    """Whether somebody polls the task queue, and has shown itself in the database."""
    polls = dict(
        zip(
            _KINDS, await asyncio.gather(*(_pollers(look, k) for k in _KINDS.values())), strict=True
        )
    )
    queue = look.settings.task_queue
    lacking = [kind for kind, pollers in polls.items() if not pollers]
    shown = await _shown(look)
    here = [one for one in shown or [] if one.queue == look.queue]
    if lacking:
        elsewhere = sorted({one.queue for one in shown or []} - {look.queue})
        others = f"; in the database, workers have shown themselves on {', '.join(elsewhere)}"
        return [
            wrong(
                f"no worker polls task queue {queue!r} of namespace {look.client.namespace} for "
                f"{' and '.join(lacking)}{others if elsewhere else ''}",
                "start one: `refold worker`; if one runs, compare its REFOLD_TASK_QUEUE, "
                "TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE with these, and look at its log",
            )
        ]
    names = sorted({*polls["workflow tasks"], *polls["activities"]})
    if shown is not None and not here:
        return [
            mind(
                f"task queue {queue!r} is polled by {', '.join(names)}, and no worker of it has "
                "shown itself in this database for a minute",
                "compare REFOLD_DATABASE_URL of the workers with this one, and look at their logs",
            )
        ]
    return [ok(f"task queue {queue!r} is polled by {', '.join(names)}")]


async def _pollers(look: Look, kind: TaskQueueType.ValueType) -> list[str]:
    """The identities of those that have polled lately."""
    described = await look.client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=look.client.namespace,
            task_queue=TaskQueue(name=look.settings.task_queue),
            task_queue_type=kind,
        )
    )
    now = look.clock()
    pollers: list[Any] = list(described.pollers)
    return [
        poller.identity
        for poller in pollers
        if (now - poller.last_access_time.ToDatetime(UTC)).total_seconds() < _POLLED_SECONDS
    ]


async def _shown(look: Look) -> list[Shown] | None:
    if Need.SCHEMA not in look.reached:
        return None
    async with look.connected() as connection:
        return await deployments.lately(connection)


async def deployed(look: Look) -> list[Finding]:
    """Whether each worker has the projections and versions that are here."""
    assert look.registry is not None
    shown = [one for one in await _shown(look) or [] if one.queue == look.queue]
    found = [finding for one in shown for finding in _differences(look.registry, one)]
    told = "; ".join(f"{one.worker}: {_listed(one)}" for one in shown) or "no worker shows any"
    return found or [ok(told)]


def _differences(registry: Registry, shown: Shown) -> list[Finding]:
    found = []
    for projection in registry:
        name, newest = projection.name, projection.version
        has = shown.versions.get(name)
        which = f"worker {shown.worker} has"
        if has is None:
            found.append(
                wrong(
                    f"{which} no projection {name}: it leaves its runs to others, which fail when "
                    "there are none",
                    "deploy this code there, or name its module in REFOLD_PROJECTIONS, and restart "
                    "the worker",
                )
            )
        elif max(has) < newest:
            found.append(
                wrong(
                    f"{which} version {_numbers(has)} of {name}, here it is {newest}: unless a "
                    "deployment is under way, it runs older code",
                    "deploy this code there, and restart the worker",
                )
            )
        elif max(has) > newest:
            found.append(
                mind(
                    f"{which} version {_numbers(has)} of {name}, here it is {newest}",
                    "this command runs older code: bring it up to date",
                )
            )
    return found


def _listed(shown: Shown) -> str:
    return ", ".join(f"{name} {_numbers(versions)}" for name, versions in shown.versions.items())


def _numbers(versions: Any) -> str:
    return "/".join(map(str, versions))
