"""Refold: durable backfills, rebuilds and rollbacks of the read models of event-sourced systems."""

from refold.errors import RefoldError
from refold.event import Event
from refold.policy import BackfillPolicy
from refold.predicates import predicate
from refold.projection import Handler, Projection, Row
from refold.system_events import (
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillRequested,
    ProjectionBackfillStarted,
    ProjectionCheckpointRestored,
    ProjectionCheckpointSaved,
    ProjectionFailed,
    ProjectionRestartRequested,
    ProjectionRollbackRequested,
    ProjectionSnapshotCreated,
    ProjectionSnapshotRestored,
    ProjectionStarted,
    ProjectionStopped,
    SystemEvent,
)
from refold.system_handlers import SystemEventContext, SystemHandler, on_system_event

__all__ = [
    "BackfillPolicy",
    "Event",
    "Handler",
    "Projection",
    "ProjectionBackfillCompleted",
    "ProjectionBackfillFailed",
    "ProjectionBackfillProgress",
    "ProjectionBackfillRequested",
    "ProjectionBackfillStarted",
    "ProjectionCheckpointRestored",
    "ProjectionCheckpointSaved",
    "ProjectionFailed",
    "ProjectionRestartRequested",
    "ProjectionRollbackRequested",
    "ProjectionSnapshotCreated",
    "ProjectionSnapshotRestored",
    "ProjectionStarted",
    "ProjectionStopped",
    "RefoldError",
    "Row",
    "SystemEvent",
    "SystemEventContext",
    "SystemHandler",
    "on_system_event",
    "predicate",
]
