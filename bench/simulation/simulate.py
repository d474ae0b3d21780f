"""Runs a real workflow on pretended activities, and tells what that cost."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from bench.measuring.clocks import mebibytes, processor_seconds
from bench.simulation.pretended import Pretended, Scale
from refold.messages.run.life import Progress
from refold.runtime.payloads.converter import forgiving
from refold.worker.interceptors.steps import StepInterceptor
from refold.workflows.all import WORKFLOWS

_QUEUE = "simulation"
_SAMPLES = 20


@dataclass
class Simulated:
    """What a simulated workflow came to.

    Attributes:
        kind: Its type.
        segments: How many there were.
        seconds: How long they would have taken, were they real.
        passed: How long they took.
        worker: Processor seconds of this process: workflow and activities.
        server: Processor seconds of Temporal.
        lengths: How many events the history of each execution has.
        sizes: How many bytes.
        memory: Resident memory of this process in MiB, as often as was asked for.
        progress: What a run said of itself at its end; None of a projection.
    """

    kind: str
    segments: int = 0
    seconds: float = 0.0
    passed: float = 0.0
    worker: float = 0.0
    server: float = 0.0
    lengths: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    progress: Progress | None = None

    @property
    def growth(self) -> float:
        """By how many MiB memory has grown over the second half."""
        return self.memory[-1] - self.memory[len(self.memory) // 2]


async def run(
    client: Client,
    kind: str,
    scale: Scale,
    *,
    server: int | None = None,
    samples: int = _SAMPLES,
) -> Simulated:
    """Carries out a `Rebuild` or a `Backfill`, or follows with a `Projection`.

    Args:
        client: Of a Temporal server, with pydantic's converter.
        kind: The workflow type.
        scale: How much there is to do.
        server: The pid of Temporal's server; None when its processor does not matter.
        samples: How often memory is looked at, which takes long in a process that has much of it.
    """
    pretended = Pretended(scale)
    simulated = Simulated(kind, seconds=scale.run_seconds)
    if kind == "Projection":
        simulated.seconds = scale.followed_seconds
    async with _worker(client, pretended), _sampling(pretended, simulated, samples):
        began, used = time.perf_counter(), time.process_time()
        there = processor_seconds(server) if server is not None else 0.0
        if kind == "Projection":
            await _follow(client, pretended)
        else:
            simulated.progress = await _to_its_end(client, kind)
        simulated.passed = time.perf_counter() - began
        simulated.worker = time.process_time() - used
        simulated.server = processor_seconds(server) - there if server is not None else 0.0
    simulated.segments = pretended.segments
    executions = await _executions(client, _id(kind))
    simulated.lengths = [execution.history_length for execution in executions]
    simulated.sizes = [execution.raw_info.history_size_bytes for execution in executions]
    return simulated


async def _to_its_end(client: Client, kind: str) -> Progress:
    request = {"projection": "simulated"}
    handle = await client.start_workflow(kind, request, id=_id(kind), task_queue=_QUEUE)
    await handle.result()
    # Of the latest execution.
    latest = client.get_workflow_handle(handle.id)
    progress: Progress = await latest.query("progress", result_type=Progress)
    return progress


async def _follow(client: Client, pretended: Pretended) -> None:
    kind, request = "Projection", {"projection": "simulated"}
    handle = await client.start_workflow(kind, request, id=_id(kind), task_queue=_QUEUE)
    await pretended.followed_long.wait()
    await client.get_workflow_handle(handle.id).cancel()
    with suppress(WorkflowFailureError):
        await handle.result()


def _worker(client: Client, pretended: Pretended) -> Worker:
    runner = SandboxedWorkflowRunner()
    runner = replace(runner, restrictions=runner.restrictions.with_passthrough_modules("refold"))
    return Worker(
        forgiving(client, None),
        task_queue=_QUEUE,
        workflows=WORKFLOWS,
        activities=pretended.activities,
        interceptors=[StepInterceptor()],
        workflow_runner=runner,
        disable_eager_activity_execution=True,
        max_heartbeat_throttle_interval=timedelta(seconds=1),
        default_heartbeat_throttle_interval=timedelta(seconds=1),
    )


def _id(kind: str) -> str:
    return f"simulated/{kind.lower()}"


@asynccontextmanager
async def _sampling(
    pretended: Pretended, simulated: Simulated, samples: int
) -> AsyncIterator[None]:
    """Looks at this process's memory again and again, as segments are done."""

    async def look() -> None:
        for sample in range(1, samples + 1):
            while pretended.share < sample / samples:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            gc.collect()
            simulated.memory.append(mebibytes(os.getpid()))

    looking = asyncio.create_task(look())
    try:
        yield
        await looking
    finally:
        looking.cancel()
        await asyncio.wait([looking])


async def _executions(client: Client, workflow_id: str) -> list[WorkflowExecution]:
    """All executions under an id, in order; waits until the list has the last one's end."""
    continued = WorkflowExecutionStatus.CONTINUED_AS_NEW
    while True:
        found = [one async for one in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        found.sort(key=lambda one: one.start_time)
        ended = all(one.close_time is not None for one in found)
        if ended and any(one.status != continued for one in found):
            return found
        await asyncio.sleep(0.2)
