"""Which page of the reference tells of which public name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """A page of docs/api/.

    Attributes:
        file: Its file's name, without ``.md``.
        title: Its heading.
        about: What it tells of, in a sentence.
        names: What is importable from `module`, in the order in which it is told.
        module: Where people import it from.
    """

    file: str
    title: str
    about: str
    names: tuple[str, ...]
    module: str = "refold"


PAGES = (
    Page(
        "manager",
        "The manager",
        "All that can be asked of projections from Python.",
        ("ProjectionManager", "StartedRun"),
    ),
    Page(
        "declarations",
        "Declarations",
        "Projections and their settings.",
        (
            *(
                "Projection",
                "SqlProjection",
                "Event",
                "TypedEvent",
                "Handler",
                "TypedHandler",
                "Row",
            ),
            *("upcast", "Upcaster"),
            *("lower", "split", "day", "week", "month", "year"),
            *("BackfillPolicy", "backfill_from", "backfill_from_beginning", "Checkpoints"),
            *("Snapshots", "Defaults", "OnPoison", "predicate"),
            "include_object",
        ),
    ),
    Page(
        "requests",
        "Requests",
        "What runs are asked for.",
        (
            *("BackfillRequest", "Criteria", "Approval", "Limits", "Throttle"),
            *("RollbackRequest", "SnapshotRequest"),
        ),
    ),
    Page(
        "results",
        "Results",
        "What runs and projections say of themselves.",
        (
            *("BackfillResult", "Progress", "PartitionProgress", "RunStatus", "Phase"),
            *("RunOptions", "LiveStatus", "Standing", "ProjectionHealth"),
            *("MirrorHealth", "MirrorStatus", "MirrorLimits"),
        ),
    ),
    Page(
        "system-events",
        "System events and their handlers",
        "What is recorded of projections and runs, and what may be asked for by event.",
        (
            *("on_system_event", "SystemHandler", "SystemEventContext", "SystemEvent"),
            *("ProjectionBackfillRequested", "ProjectionRollbackRequested"),
            *("ProjectionRestartRequested", "ProjectionStarted", "ProjectionStopped"),
            *("ProjectionFailed", "ProjectionCheckpointSaved", "ProjectionCheckpointRestored"),
            "ProjectionLateEventsApplied",
            *("ProjectionBackfillStarted", "ProjectionBackfillProgress"),
            *("ProjectionBackfillCompleted", "ProjectionBackfillFailed"),
            *("ProjectionApprovalAwaited", "ProjectionDeadLettered"),
            *("ProjectionSnapshotCreated", "ProjectionSnapshotRestored"),
        ),
    ),
    Page(
        "processes",
        "Events and workers",
        "Where events are, writing to Refold's own table, and Refold in a worker of your own.",
        (
            *("EventSource", "Locks", "InOrder", "Marked", "Patience", "append", "NewEvent"),
            *("MirrorSource", "MirroredEvent", "RefoldPlugin"),
        ),
    ),
    Page(
        "testing",
        "Testing",
        "What tests of projections import from `refold.testing`.",
        ("given", "assert_fold", "assert_same_in_batches"),
        module="refold.testing",
    ),
)
