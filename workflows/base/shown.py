"""Where people see how a run stands: its details in Temporal's UI, and its line in the list."""

from __future__ import annotations

from temporalio import workflow

from refold.workflows.base.controlled import Controlled
from refold.workflows.base.listing import Listed, attributes_of

with workflow.unsafe.imports_passed_through():
    from refold.messages.run.controls import Controls
    from refold.messages.run.endings import Why
    from refold.messages.run.life import Phase
    from refold.messages.run.next_steps import next_steps
    from refold.messages.run.progress import ProgressMeter, as_markdown
    from refold.messages.run.status import RunStatus
    from refold.messages.search_attributes import STATUS
    from refold.requests.runs import Request


class Shown(Controlled):
    """Base of runs: whatever changes is shown at once."""

    def __init__(self, meter: ProgressMeter, controls: Controls) -> None:
        self._kind = workflow.info().workflow_type
        self._asked: Request | None = None
        self._failure: Why | None = None
        self._listed = Listed()
        super().__init__(meter, controls)

    def _enter(self, phase: Phase) -> None:
        self._meter.phase = phase
        self._show()

    def _settle(self, status: RunStatus) -> None:
        if not self._meter.status.may_become(status):
            # Told, not raised: a run must not stand still for a word.
            workflow.logger.error("a run goes from %s to %s", self._meter.status, status)
        self._meter.status = status
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(self._details())
        attributes = attributes_of(self._asked, self._meter.progress(), self._kind)
        if (ending := self._ending_in_list()) is not None:
            attributes[STATUS] = ending
        self._listed.show(attributes)

    def _ending_in_list(self) -> str | None:
        """How the list says that it has ended, where the status alone does not say it."""
        return None

    def _details(self) -> str:
        projection = self._asked.projection if self._asked is not None else None
        title = self._kind if projection is None else f"{self._kind} {projection}"
        progress = self._meter.progress()
        failure = self._failure if progress.status.ended else None
        next_ = next_steps(progress.status, self._kind, projection, failure)
        return as_markdown(progress, title, failure=failure, next_steps=next_)
