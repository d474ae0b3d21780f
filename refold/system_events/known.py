"""The system events that Refold knows by name, and events as they are recorded."""

from __future__ import annotations

from typing import Any, TypeVar

from refold.messages.recorded_event import RecordedEvent
from refold.system_events.events import (
    ProjectionApprovalAwaited,
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillRequested,
    ProjectionBackfillStarted,
    ProjectionCheckpointRestored,
    ProjectionCheckpointSaved,
    ProjectionDeadLettered,
    ProjectionFailed,
    ProjectionLateEventsApplied,
    ProjectionRequest,
    ProjectionRestartRequested,
    ProjectionRollbackRequested,
    ProjectionSnapshotCreated,
    ProjectionSnapshotRestored,
    ProjectionStarted,
    ProjectionStopped,
    SystemEvent,
    SystemHandlerFailed,
)

BUILT_IN: dict[str, type[SystemEvent]] = {
    kind.__name__: kind
    for kind in (
        ProjectionStarted,
        ProjectionStopped,
        ProjectionFailed,
        ProjectionCheckpointSaved,
        ProjectionCheckpointRestored,
        ProjectionLateEventsApplied,
        ProjectionSnapshotCreated,
        ProjectionSnapshotRestored,
        ProjectionBackfillStarted,
        ProjectionBackfillProgress,
        ProjectionBackfillCompleted,
        ProjectionBackfillFailed,
        ProjectionApprovalAwaited,
        ProjectionDeadLettered,
        SystemHandlerFailed,
        ProjectionBackfillRequested,
        ProjectionRollbackRequested,
        ProjectionRestartRequested,
    )
}
"""The system events that Refold knows, by their type's name."""


def own_fields(event: SystemEvent) -> dict[str, Any]:
    """An event's own fields, as JSON has them; of a request only those that were given."""
    own = set(type(event).model_fields) - {"projection", "correlation_id"}
    asks = isinstance(event, ProjectionRequest)
    return event.model_dump(mode="json", include=own, exclude_unset=asks)


S = TypeVar("S", bound=SystemEvent)


def as_event(recorded: RecordedEvent, kind: type[S]) -> S:
    """A recorded event as its class.

    Raises:
        pydantic.ValidationError: It is not one of that class.
    """
    return kind.model_validate(
        {
            **recorded.data,
            "projection": recorded.projection,
            "correlation_id": recorded.correlation_id,
        },
        extra="ignore",
    )
