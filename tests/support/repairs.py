"""Repairs by a worker that dies on the way, and what they must leave."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from temporalio.client import WorkflowHandle

from refold import Row
from refold.messages.run.life import BackfillResult
from refold.projection.key import Key
from tests.support.processes import WorkerProcess, WorkerProcesses


async def outlived(
    handle: WorkflowHandle[Any, BackfillResult], workers: WorkerProcesses, worker: WorkerProcess
) -> tuple[BackfillResult, WorkerProcess]:
    """A run's end, while another worker is started whenever one has died; and the worker then."""
    result = asyncio.create_task(handle.result())
    while not result.done():
        if not worker.running:
            worker = workers.start()
        await asyncio.wait([result], timeout=0.1)
    return result.result(), worker


def assert_repaired(
    after: Mapping[Key, Row],
    *,
    before: Mapping[Key, Row],
    right: Mapping[Key, Row],
    selected: Collection[Key],
    all_keys: bool,
) -> None:
    """Compares rows after a repair: those of selected keys are right, the others as before."""
    for key in {*selected, *before, *after, *right}:
        expected = right.get(key) if all_keys or key in selected else before.get(key)
        assert after.get(key) == expected, f"{key!r} of {selected}"
