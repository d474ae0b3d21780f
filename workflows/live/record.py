"""System events as a workflow records them, and remembers the latest for its query."""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from refold.workflows.base.step_listener import StepListener
from refold.workflows.base.steps import step

with workflow.unsafe.imports_passed_through():
    from refold.activities.system_events import SystemEventActivities
    from refold.messages.live import RECENT, ReadSystemEvents, RecordSystemEvent
    from refold.messages.recorded_event import RecordedEvent
    from refold.requests.fairness import fairness_key
    from refold.system_events.events import SystemEvent
    from refold.system_events.known import own_fields


class Recording(StepListener):
    """Base of the workflow that records system events.

    Args:
        name: The projection.
        recent: The latest system events that are known, the oldest first.
    """

    def __init__(self, name: str, recent: Sequence[RecordedEvent]) -> None:
        super().__init__()
        self._name = name
        self._recent = list(recent)

    @property
    def fairness_key(self) -> str:
        """With whom its activities take turns: those of other projections, and of tenants."""
        return fairness_key(self._name)

    @workflow.query(
        name="system_events", description=f"The projection's latest {RECENT} system events"
    )
    def system_events(self) -> list[RecordedEvent]:
        """The oldest first; `refold log` shows all."""
        return self._recent

    @property
    def _known(self) -> int:
        return self._recent[-1].number if self._recent else 0

    def _learn(self, recorded: Sequence[RecordedEvent]) -> None:
        news = [event for event in recorded if event.number > self._known]
        self._recent = [*self._recent, *news][-RECENT:]

    async def _record(self, event: SystemEvent, key: str) -> bool:
        """Records an event; False when it had been recorded under this key."""
        kind = type(event).__name__
        try:
            now = await workflow.execute_activity_method(
                SystemEventActivities.record_system_event,
                RecordSystemEvent(
                    type=kind,
                    projection=event.projection,
                    data=own_fields(event),
                    correlation_id=event.correlation_id,
                    key=key,
                    known=self._known,
                ),
                summary=kind,
                **step(),
            )
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            # What cannot be recorded is still carried out: the workflow must not end for it.
            workflow.logger.error("%s cannot be recorded: %s", kind, error.cause)
            return True
        self._learn(now.system_events)
        return now.fresh

    async def _catch_up(self) -> None:
        """Learns what others have recorded since."""
        self._learn(
            await workflow.execute_activity_method(
                SystemEventActivities.read_system_events,
                ReadSystemEvents(projection=self._name, known=self._known),
                summary="what others have recorded",
                **step(),
            )
        )
