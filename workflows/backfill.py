"""Backfill: repair the live table in place, or build a new one when the request is atomic."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from refold.workflows.base.build import Building

with workflow.unsafe.imports_passed_through():
    from refold.messages.run.life import BackfillResult


@workflow.defn(name="Backfill")
class Backfill(Building):
    """Repairs a projection: refolds its keys in place, then follows to the head."""

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        super().__init__(inputs)

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """Takes one `BackfillRequest`; a cancel signal ends it with the status ``cancelled``."""
        return await self._to_the_end()
