"""Refold: durable backfills, rebuilds and rollbacks of the read models of event-sourced systems."""

from refold.checkpoints import Checkpoints
from refold.criteria import Criteria
from refold.errors import RefoldError
from refold.event import Event
from refold.limits import Throttle
from refold.poison import OnPoison
from refold.policy import BackfillPolicy, backfill_from, backfill_from_beginning
from refold.predicates import predicate
from refold.projection import Handler, Projection, Row
from refold.snapshot_policy import Snapshots
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
    "Checkpoints",
    "Criteria",
    "Event",
    "Handler",
    "OnPoison",
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
    "Snapshots",
    "SystemEvent",
    "SystemEventContext",
    "SystemHandler",
    "Throttle",
    "backfill_from",
    "backfill_from_beginning",
    "on_system_event",
    "predicate",
]
