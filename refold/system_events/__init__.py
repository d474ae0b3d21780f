"""What happens to projections and their runs, and handlers of it. Pure."""

from __future__ import annotations

from refold.system_events.acceptance import accept_event
from refold.system_events.events import (
    BUILT_IN,
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillRequested,
    ProjectionBackfillStarted,
    ProjectionCheckpointRestored,
    ProjectionCheckpointSaved,
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
    as_event,
    own_fields,
)
from refold.system_events.handlers import SystemEventContext, SystemHandler, on_system_event

__all__ = [
    "BUILT_IN",
    "ProjectionBackfillCompleted",
    "ProjectionBackfillFailed",
    "ProjectionBackfillProgress",
    "ProjectionBackfillRequested",
    "ProjectionBackfillStarted",
    "ProjectionCheckpointRestored",
    "ProjectionCheckpointSaved",
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
