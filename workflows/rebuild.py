"""Rebuild: fold everything into a shadow table and swap it in."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from refold.workflows.base.build import Building

with workflow.unsafe.imports_passed_through():
    from refold.messages.run.life import BackfillResult


@workflow.defn(name="Rebuild")
class Rebuild(Building):
    """Builds a new generation of a projection and swaps it in under running readers."""

    atomic = True

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        super().__init__(inputs)

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """Takes one `BackfillRequest`; a cancel signal ends it with the status ``cancelled``."""
        return await self._to_the_end()
