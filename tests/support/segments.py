"""A workflow of many steps at once. Alone in its file: workflow code imports it anew."""

from __future__ import annotations

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from refold.workflows.base.steps import step


@workflow.defn(name="Segments")
class Segments:
    """A run of so many steps at once, of one tenant."""

    @workflow.init
    def __init__(self, tenant: str, count: int) -> None:
        self.fairness_key = tenant

    @workflow.run
    async def run(self, tenant: str, count: int) -> None:
        await asyncio.gather(
            *[workflow.execute_activity("segment", tenant, **step()) for _ in range(count)]
        )
