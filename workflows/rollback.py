"""Rollback: a replaced generation, or a copy of a snapshot, is followed and put live again."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from refold.workflows.base.moves import Moves
from refold.workflows.base.steps import step

with workflow.unsafe.imports_passed_through():
    from refold.activities.plan import PlanningActivities
    from refold.messages.run.life import BackfillResult, BeginRollback, Phase
    from refold.messages.run.plan import Plan
    from refold.messages.run.status import RunStatus
    from refold.requests.runs import RollbackRequest


@workflow.defn(name="Rollback")
class Rollback(Moves[RollbackRequest]):
    """Puts a retained generation, or a snapshot's copy, live with all events since.

    The handlers are those of the version that built it.
    """

    request_type = RollbackRequest
    working = RunStatus.ROLLING_BACK
    worked = RunStatus.ROLLED_BACK

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        super().__init__(inputs)

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """Takes one `RollbackRequest`; it ends with the status ``rolled_back``."""
        return await self._to_the_end()

    async def _begin(self, request: RollbackRequest) -> Plan:
        return await workflow.execute_activity_method(
            PlanningActivities.begin_rollback,
            BeginRollback(run_id=self._run_id, request=request),
            summary="lease and plan",
            **step(),
        )

    async def _steps(self, plan: Plan) -> None:
        if plan.copies is not None:
            await self._copy(plan, "snapshot")
        if not plan.stale:
            self._enter(Phase.FOLLOWING)
            await self._follow(plan)
        await self._go_live(plan)
