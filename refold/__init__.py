"""Refold: durable backfills, rebuilds and rollbacks of the read models of event-sourced systems."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refold.errors import (
        AlreadyRunning,
        CheckpointLost,
        CheckpointStoreFailed,
        ConfigurationError,
        EventsUnreachable,
        Fenced,
        HandlerOverdue,
        InvalidEventFile,
        InvalidProjection,
        InvalidRequest,
        MirrorBusy,
        MirrorConflict,
        MirrorNotHere,
        MirrorSourceFailed,
        MissingRight,
        NoRun,
        NoSchedule,
        NoSnapshot,
        NotAwaited,
        NotDeployed,
        NoThreadLeft,
        NotLive,
        NotMigrated,
        NotOnAnyWorker,
        NotOnThisWorker,
        PoisonEvent,
        PredicateFailed,
        ProjectionBusy,
        RefoldError,
        RightDenied,
        RowRejected,
        RunEnded,
        RunFailed,
        ScheduleExists,
        SwapRefused,
        TargetBehind,
        TemporalUnreachable,
        UnknownMirror,
        UnknownProjection,
        UnreadableEvent,
        UnreadablePayload,
        VerificationFailed,
        VersionChanged,
        WrongExpectedVersion,
    )
    from refold.event import Event, TypedEvent
    from refold.manager.health import ProjectionHealth, Standing
    from refold.manager.mirroring.health import MirrorHealth
    from refold.manager.projections import ProjectionManager
    from refold.manager.run.started_run import StartedRun
    from refold.messages.live import LiveStatus
    from refold.messages.mirrors import MirrorLimits, MirrorStatus
    from refold.messages.run.life import BackfillResult, PartitionProgress, Phase, Progress
    from refold.messages.run.options import RunOptions
    from refold.messages.run.status import RunStatus
    from refold.predicates import predicate
    from refold.projection.backfill_policy import (
        BackfillPolicy,
        backfill_from,
        backfill_from_beginning,
    )
    from refold.projection.checkpoints import Checkpoints
    from refold.projection.declaration import Handler, Projection, Row
    from refold.projection.defaults import Defaults
    from refold.projection.keys.derived import day, lower, month, split, week, year
    from refold.projection.reading.declared import Upcaster
    from refold.projection.reading.handlers import TypedHandler
    from refold.projection.reading.upcasting import upcast
    from refold.projection.snapshot_policy import Snapshots
    from refold.projection.sql.declaration import SqlProjection
    from refold.requests.criteria import Criteria
    from refold.requests.limits import Limits, Throttle
    from refold.requests.poison_policy import OnPoison
    from refold.requests.runs import Approval, BackfillRequest, RollbackRequest, SnapshotRequest
    from refold.source import mirrors as mirrors
    from refold.source import stores as stores
    from refold.source.files.event_lines import UnreadableEventFile
    from refold.source.files.importer import ImportConflict, UnexpectedVersion
    from refold.source.files.imports import AlreadyImported
    from refold.source.log import NewEvent, append
    from refold.source.mirrors.protocol import MirroredEvent, MirrorSource
    from refold.source.port.event_source import EventSource
    from refold.source.settled.in_order import InOrder
    from refold.source.settled.locks import Locks
    from refold.source.settled.marked import Marked
    from refold.source.settled.patience import Patience
    from refold.store.tables.autogenerate import include_object
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
        ProjectionRestartRequested,
        ProjectionRollbackRequested,
        ProjectionSnapshotCreated,
        ProjectionSnapshotRestored,
        ProjectionStarted,
        ProjectionStopped,
        SystemEvent,
    )
    from refold.system_events.handlers import SystemEventContext, SystemHandler, on_system_event
    from refold.worker.plugin import RefoldPlugin

__all__ = [
    "AlreadyImported",
    "AlreadyRunning",
    "Approval",
    "BackfillPolicy",
    "BackfillRequest",
    "BackfillResult",
    "CheckpointLost",
    "CheckpointStoreFailed",
    "Checkpoints",
    "ConfigurationError",
    "Criteria",
    "Defaults",
    "Event",
    "EventSource",
    "EventsUnreachable",
    "Fenced",
    "Handler",
    "HandlerOverdue",
    "ImportConflict",
    "InOrder",
    "InvalidEventFile",
    "InvalidProjection",
    "InvalidRequest",
    "Limits",
    "LiveStatus",
    "Locks",
    "Marked",
    "MirrorBusy",
    "MirrorConflict",
    "MirrorHealth",
    "MirrorLimits",
    "MirrorNotHere",
    "MirrorSource",
    "MirrorSourceFailed",
    "MirrorStatus",
    "MirroredEvent",
    "MissingRight",
    "NewEvent",
    "NoRun",
    "NoSchedule",
    "NoSnapshot",
    "NoThreadLeft",
    "NotAwaited",
    "NotDeployed",
    "NotLive",
    "NotMigrated",
    "NotOnAnyWorker",
    "NotOnThisWorker",
    "OnPoison",
    "PartitionProgress",
    "Patience",
    "Phase",
    "PoisonEvent",
    "PredicateFailed",
    "Progress",
    "Projection",
    "ProjectionApprovalAwaited",
    "ProjectionBackfillCompleted",
    "ProjectionBackfillFailed",
    "ProjectionBackfillProgress",
    "ProjectionBackfillRequested",
    "ProjectionBackfillStarted",
    "ProjectionBusy",
    "ProjectionCheckpointRestored",
    "ProjectionCheckpointSaved",
    "ProjectionDeadLettered",
    "ProjectionFailed",
    "ProjectionHealth",
    "ProjectionLateEventsApplied",
    "ProjectionManager",
    "ProjectionRestartRequested",
    "ProjectionRollbackRequested",
    "ProjectionSnapshotCreated",
    "ProjectionSnapshotRestored",
    "ProjectionStarted",
    "ProjectionStopped",
    "RefoldError",
    "RefoldPlugin",
    "RightDenied",
    "RollbackRequest",
    "Row",
    "RowRejected",
    "RunEnded",
    "RunFailed",
    "RunOptions",
    "RunStatus",
    "ScheduleExists",
    "SnapshotRequest",
    "Snapshots",
    "SqlProjection",
    "Standing",
    "StartedRun",
    "SwapRefused",
    "SystemEvent",
    "SystemEventContext",
    "SystemHandler",
    "TargetBehind",
    "TemporalUnreachable",
    "Throttle",
    "TypedEvent",
    "TypedHandler",
    "UnexpectedVersion",
    "UnknownMirror",
    "UnknownProjection",
    "UnreadableEvent",
    "UnreadableEventFile",
    "UnreadablePayload",
    "Upcaster",
    "VerificationFailed",
    "VersionChanged",
    "WrongExpectedVersion",
    "append",
    "backfill_from",
    "backfill_from_beginning",
    "day",
    "include_object",
    "lower",
    "month",
    "on_system_event",
    "predicate",
    "split",
    "upcast",
    "week",
    "year",
]

# What is imported when a name is first asked for, so that a program pays for what it uses.
_HOMES = {
    "refold.errors": (
        "AlreadyRunning",
        "CheckpointLost",
        "CheckpointStoreFailed",
        "ConfigurationError",
        "EventsUnreachable",
        "Fenced",
        "HandlerOverdue",
        "InvalidEventFile",
        "InvalidProjection",
        "InvalidRequest",
        "MirrorBusy",
        "MirrorConflict",
        "MirrorNotHere",
        "MirrorSourceFailed",
        "MissingRight",
        "NoRun",
        "NoSchedule",
        "NoSnapshot",
        "NoThreadLeft",
        "NotAwaited",
        "NotDeployed",
        "NotLive",
        "NotMigrated",
        "NotOnAnyWorker",
        "NotOnThisWorker",
        "PoisonEvent",
        "PredicateFailed",
        "ProjectionBusy",
        "RefoldError",
        "RightDenied",
        "RowRejected",
        "RunEnded",
        "RunFailed",
        "ScheduleExists",
        "SwapRefused",
        "TargetBehind",
        "TemporalUnreachable",
        "UnknownMirror",
        "UnknownProjection",
        "UnreadableEvent",
        "UnreadablePayload",
        "VerificationFailed",
        "VersionChanged",
        "WrongExpectedVersion",
    ),
    "refold.event": ("Event", "TypedEvent"),
    "refold.manager.health": ("ProjectionHealth", "Standing"),
    "refold.manager.mirroring.health": ("MirrorHealth",),
    "refold.manager.projections": ("ProjectionManager",),
    "refold.manager.run.started_run": ("StartedRun",),
    "refold.messages.live": ("LiveStatus",),
    "refold.messages.mirrors": ("MirrorLimits", "MirrorStatus"),
    "refold.messages.run.life": ("BackfillResult", "PartitionProgress", "Phase", "Progress"),
    "refold.messages.run.options": ("RunOptions",),
    "refold.messages.run.status": ("RunStatus",),
    "refold.predicates": ("predicate",),
    "refold.projection.backfill_policy": (
        "BackfillPolicy",
        "backfill_from",
        "backfill_from_beginning",
    ),
    "refold.projection.checkpoints": ("Checkpoints",),
    "refold.projection.declaration": ("Handler", "Projection", "Row"),
    "refold.projection.defaults": ("Defaults",),
    "refold.projection.keys.derived": ("day", "lower", "month", "split", "week", "year"),
    "refold.projection.reading.declared": ("Upcaster",),
    "refold.projection.reading.handlers": ("TypedHandler",),
    "refold.projection.reading.upcasting": ("upcast",),
    "refold.projection.snapshot_policy": ("Snapshots",),
    "refold.projection.sql.declaration": ("SqlProjection",),
    "refold.requests.criteria": ("Criteria",),
    "refold.requests.limits": ("Limits", "Throttle"),
    "refold.requests.poison_policy": ("OnPoison",),
    "refold.requests.runs": ("Approval", "BackfillRequest", "RollbackRequest", "SnapshotRequest"),
    "refold.source.files.event_lines": ("UnreadableEventFile",),
    "refold.source.files.importer": ("ImportConflict", "UnexpectedVersion"),
    "refold.source.files.imports": ("AlreadyImported",),
    "refold.source.log": ("NewEvent", "append"),
    "refold.source.mirrors.protocol": ("MirrorSource", "MirroredEvent"),
    "refold.source.port.event_source": ("EventSource",),
    "refold.source.settled.in_order": ("InOrder",),
    "refold.source.settled.locks": ("Locks",),
    "refold.source.settled.marked": ("Marked",),
    "refold.source.settled.patience": ("Patience",),
    "refold.store.tables.autogenerate": ("include_object",),
    "refold.system_events.events": (
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
        "ProjectionRestartRequested",
        "ProjectionRollbackRequested",
        "ProjectionSnapshotCreated",
        "ProjectionSnapshotRestored",
        "ProjectionStarted",
        "ProjectionStopped",
        "SystemEvent",
    ),
    "refold.system_events.handlers": ("SystemEventContext", "SystemHandler", "on_system_event"),
    "refold.worker.plugin": ("RefoldPlugin",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
_ROOMS = ("mirrors", "stores")


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"refold.source.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_ROOMS})
