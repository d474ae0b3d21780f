"""The steps of a rebuild, called one after another by a script: no Temporal, no workflow.

What a run through Temporal takes beyond this is orchestration. The script is a process like a
worker's: it has a worker's memory settings, connections and threads, and the same number of
partitions at a time.

    python -m bench.measuring.bare order-summary

It finds its servers as a worker does, in the environment. It prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from refold import BackfillRequest
from refold.messages.run.endings import FinishRun, SwapSegment
from refold.messages.run.life import BeginRun, FollowSegment, RefoldSegment
from refold.messages.run.plan import Plan
from refold.messages.run.status import RunStatus
from refold.runtime.allocator import keep_little
from refold.runtime.database import make_engine
from refold.runtime.garbage import calm_garbage_collector
from refold.runtime.settings import load_settings
from refold.runtime.temporal.client import connect
from refold.source.port.current import use_source
from refold.store.checkpoints.stores import CheckpointStores
from refold.worker.assembly import MAX_ACTIVITIES, make_activities


@dataclass
class Script:
    """Calls activities by their names, each in a context as Temporal would make it."""

    client: Client
    activities: dict[str, Callable[..., Awaitable[Any]]]
    run_id: str

    async def do(self, name: str, argument: Any) -> Any:
        """Calls one activity."""
        environment = ActivityEnvironment(self.client)
        environment.info = replace(
            environment.info,
            activity_type=name,
            heartbeat_timeout=timedelta(seconds=10),
            workflow_id=f"bare/{self.run_id}",
            workflow_run_id=self.run_id,
            workflow_type="Rebuild",
        )
        return await environment.run(self.activities[name], argument)

    async def rebuild(self, projection: str) -> None:
        """What the workflow `Rebuild` does, in the same order."""
        request = BackfillRequest(projection=projection)
        begin = BeginRun(run_id=self.run_id, kind="Rebuild", request=request, atomic=True)
        plan: Plan = await self.do("begin_run", begin)
        await self.refold(plan)
        await self.do("build_indexes", plan.step)
        await self.do("verify_generation", plan.step)
        await self.follow(plan)
        prepared = await self.do("prepare_swap", plan.step)
        swap = SwapSegment(run_id=self.run_id, mark=prepared.mark)
        swapped = await self.do("swap_generation", swap)
        if not swapped.done:
            raise RuntimeError(f"expected a swap that nobody is in the way of, got {swapped}")
        finish = FinishRun(
            run_id=self.run_id, projection=projection, status=RunStatus.COMPLETED, drops=[]
        )
        await self.do("finish_run", finish)

    async def refold(self, plan: Plan) -> None:
        """All partitions, as many at a time as the plan says."""
        slots = asyncio.Semaphore(plan.max_concurrency)

        async def partition(number: int) -> None:
            async with slots:
                done = False
                while not done:
                    segment = RefoldSegment(run_id=self.run_id, partition=number)
                    done = (await self.do("refold_segment", segment)).done

        await asyncio.gather(*map(partition, range(plan.partitions)))

    async def follow(self, plan: Plan) -> None:
        """To the head."""
        segment = FollowSegment(run_id=plan.run_id)
        while not (await self.do("follow_segment", segment)).caught_up:
            pass


async def main(projection: str) -> None:
    """Rebuilds a projection, and prints the seconds that it took."""
    keep_little()
    settings = load_settings()
    registry = settings.registry()
    use_source(settings)
    stores = CheckpointStores(settings)
    engine = make_engine(settings, activities=MAX_ACTIVITIES + len(registry))
    client = await connect()
    calm_garbage_collector()
    made = make_activities(client, engine, registry, settings, stores)
    script = Script(client, {one.__name__: one for one in made}, str(uuid.uuid4()))
    try:
        began, worked = time.perf_counter(), time.process_time()
        await script.rebuild(projection)
        passed, processor = time.perf_counter() - began, time.process_time() - worked
    finally:
        await engine.dispose()
    print(json.dumps({"seconds": passed, "processor": processor}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
