"""Snapshot: a frozen copy of what readers query now."""

from __future__ import annotations

from typing import Any

from temporalio import workflow

from refold.workflows.base.run import Run
from refold.workflows.base.steps import step

with workflow.unsafe.imports_passed_through():
    from refold.activities.plan import PlanningActivities
    from refold.activities.snapshot import SnapshotActivities
    from refold.messages.run.endings import Finished
    from refold.messages.run.life import BackfillResult, Phase
    from refold.messages.run.plan import Plan
    from refold.messages.run.status import RunStatus
    from refold.messages.snapshots import BeginSnapshot, Copied
    from refold.requests.runs import SnapshotRequest


@workflow.defn(name="Snapshot")
class Snapshot(Run[SnapshotRequest]):
    """Copies the active generation at its checkpoint into a generation that stays as it is."""

    request_type = SnapshotRequest

    @workflow.init
    def __init__(self, *inputs: Any) -> None:
        self._copied: Copied | None = None
        super().__init__(inputs)

    @workflow.run
    async def run(self, *inputs: Any) -> BackfillResult:
        """Takes one `SnapshotRequest`; the result names the snapshot, not what readers query."""
        return await self._to_the_end()

    async def _begin(self, request: SnapshotRequest) -> Plan:
        return await workflow.execute_activity_method(
            PlanningActivities.begin_snapshot,
            BeginSnapshot(run_id=self._run_id, request=request),
            summary="lease and plan",
            **step(),
        )

    async def _steps(self, plan: Plan) -> None:
        self._enter(Phase.COPYING)
        self._copied = await workflow.execute_activity_method(
            SnapshotActivities.copy_generation,
            plan.step,
            summary=f"copy generation {plan.copies} at its checkpoint",
            **step(plan.heartbeat_seconds),
        )
        self._heed_cancellation()

    def _kept(self, plan: Plan) -> int | None:
        return plan.generation

    def _result(
        self, request: SnapshotRequest, finished: Finished | None, status: RunStatus
    ) -> BackfillResult:
        made = self._copied if status is self.worked else None
        snapshot = self._plan.generation if self._plan and made else None
        return (
            super()
            ._result(request, finished, status)
            .model_copy(
                update={
                    "generation": snapshot,
                    "position": made.position if made else None,
                    "is_snapshot": made is not None,
                }
            )
        )
