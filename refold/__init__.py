"""Refold: durable backfills, rebuilds and rollbacks of the read models of event-sourced systems."""

from typing import TYPE_CHECKING, Any

from refold.errors import RefoldError
from refold.event import Event
from refold.predicates import predicate
from refold.projection.backfill_policy import BackfillPolicy, backfill_from, backfill_from_beginning
from refold.projection.checkpoints import Checkpoints
from refold.projection.declaration import Handler, Projection, Row
from refold.projection.defaults import Defaults
from refold.projection.snapshot_policy import Snapshots
from refold.requests.criteria import Criteria
from refold.requests.limits import Throttle
from refold.requests.poison_policy import OnPoison
from refold.system_events.events import (
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
from refold.system_events.handlers import SystemEventContext, SystemHandler, on_system_event

if TYPE_CHECKING:
    from refold.worker.plugin import RefoldPlugin

__all__ = [
    "BackfillPolicy",
    "Checkpoints",
    "Criteria",
    "Defaults",
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
    "RefoldPlugin",
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


def __getattr__(name: str) -> Any:
    """What few who import `refold` need: it is imported when it is first asked for."""
    if name == "RefoldPlugin":
        from refold.worker.plugin import RefoldPlugin

        return RefoldPlugin
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
