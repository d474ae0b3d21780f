"""What happens to projections and their runs, and handlers of it. Pure."""

from __future__ import annotations

from refold.system_events.acceptance import accept_event
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
from refold.system_events.handlers import SystemEventContext, SystemHandler, on_system_event
from refold.system_events.known import BUILT_IN, as_event, own_fields

__all__ = [
    "BUILT_IN",
    "ProjectionApprovalAwaited",
    "ProjectionBackfillCompleted",
    "ProjectionBackfillFailed",
    "ProjectionBackfillProgress",
    "ProjectionBackfillRequested",
    "ProjectionBackfillStarted",
    "ProjectionCheckpointRestored",
    "ProjectionCheckpointSaved",
    "ProjectionDeadLettered",
    "ProjectionFailed",
    "ProjectionLateEventsApplied",
    "ProjectionRequest",
    "ProjectionRestartRequested",
    "ProjectionRollbackRequested",
    "ProjectionSnapshotCreated",
    "ProjectionSnapshotRestored",
    "ProjectionStarted",
    "ProjectionStopped",
    "SystemEvent",
    "SystemEventContext",
    "SystemHandler",
    "SystemHandlerFailed",
    "accept_event",
    "as_event",
    "on_system_event",
    "own_fields",
]
