"""What can go wrong, by name. Each message says what was expected, what came, what to do next.

RefoldError
├── ConfigurationError      settings that cannot work
├── TemporalUnreachable     the Temporal server does not answer (now)
├── EventsUnreachable       the database of the events, if another one, does not answer (now)
├── NotMigrated             the database lacks Refold's schema, or has an older one
├── UnreadablePayload       what came from Temporal is encrypted with a key that is not here
├── InvalidProjection       a projection is declared wrongly
├── UnknownProjection       no projection of that name is registered
├── InvalidRequest          a request that can never be carried out as it stands
├── NoSnapshot              a projection has no snapshot of that number, or none at all
├── NoSchedule              no schedule of that id starts runs
├── ScheduleExists          there is a schedule of that id
├── ProjectionBusy          another run is writing the same projection
├── SwapRefused             something is attached to the live table that a swap would break
├── VerificationFailed      a shadow whose rows are not the fold of their events
├── PoisonEvent             an event that the projection's code cannot take
├── HandlerOverdue          an event that the projection's code does not come to an end with
├── NoThreadLeft            too many threads of this worker do not come back from people's code
├── PredicateFailed         an event for which a predicate cannot be worked out
├── UnreadableEvent         an event whose JSON or time Python cannot hold
├── RowRejected             the database refuses a row that the handlers made
├── SnapshotRejected        create() or restore() of a projection's snapshots makes nothing of a row
├── TargetBehind            a row refers to one of a read model that is behind (now)
├── WrongExpectedVersion    an append to a stream that has moved on
├── InvalidEventFile        an event file with a line that is not an event
├── UnreadableEventFile     an event file that cannot be opened or unpacked (source/files)
├── AlreadyImported         an event file whose content was imported before (source/files)
├── ImportConflict          another writer appended to the same streams (source/files)
├── RunFailed, NoRun, NotAwaited, NotLive   what a manager's call came to
├── UnknownMirror           no mirror of that name is configured
├── MirrorBusy              another installation copies under the same name
├── MirrorConflict          the log has an event already where a mirrored one is to land
├── MirrorSourceFailed      the source of a mirror does not answer (now)
├── MirrorNotHere           a worker without the mirror (another one may have it)
├── CheckpointStoreFailed   a store of checkpoints does not answer, or with an error (now)
├── CheckpointLost          a store of checkpoints has lost one, or is behind
├── RunEnded                the run was ended from outside; its work is gone
├── NotDeployed             a worker without the version that builds itself (another one has it)
├── MissingRight            a stopped worker's session that this worker's role may not end
├── RightDenied             a right that this role lacks, with the GRANT for it
├── NotOnThisWorker         a worker without the projection or version (another one may have it)
├── NotOnAnyWorker          none of the workers had it, for long enough
├── VersionChanged          another version of the projection was deployed during the run
├── WorkerProcessesEnded    processes that `refold worker --processes N` keeps up, not in order
└── Fenced                  another attempt has taken over this work

Retried are TemporalUnreachable, EventsUnreachable, TargetBehind, NoThreadLeft, NotDeployed,
CheckpointStoreFailed, MirrorSourceFailed, MirrorNotHere, MissingRight, NotOnThisWorker and Fenced;
all others are final.
"""

from __future__ import annotations

from refold.errors.base import RefoldError
from refold.errors.checkpoints import CheckpointLost, CheckpointStoreFailed
from refold.errors.events import (
    HandlerInterrupted,
    HandlerOverdue,
    InvalidEventFile,
    NoThreadLeft,
    PoisonEvent,
    PredicateFailed,
    UnreadableEvent,
    WrongExpectedVersion,
)
from refold.errors.manager import AlreadyRunning, NoRun, NotAwaited, NotLive, RunFailed
from refold.errors.mirrors import (
    MirrorBusy,
    MirrorConflict,
    MirrorNotHere,
    MirrorSourceFailed,
    UnknownMirror,
)
from refold.errors.processes import WorkerProcessesEnded
from refold.errors.requests import (
    InvalidRequest,
    NoSchedule,
    NoSnapshot,
    ProjectionBusy,
    ScheduleExists,
    SwapRefused,
)
from refold.errors.rows import (
    RowRejected,
    SnapshotRejected,
    TargetBehind,
    VerificationFailed,
)
from refold.errors.runs import (
    RESET,
    Fenced,
    MissingRight,
    NotDeployed,
    NotOnAnyWorker,
    NotOnThisWorker,
    RightDenied,
    RunEnded,
    VersionChanged,
)
from refold.errors.setup import (
    ConfigurationError,
    EventsUnreachable,
    InvalidProjection,
    NotMigrated,
    TemporalUnreachable,
    UnknownProjection,
    UnreadablePayload,
)

__all__ = [
    "RESET",
    "AlreadyRunning",
    "CheckpointLost",
    "CheckpointStoreFailed",
    "ConfigurationError",
    "EventsUnreachable",
    "Fenced",
    "HandlerInterrupted",
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
    "SnapshotRejected",
    "SwapRefused",
    "TargetBehind",
    "TemporalUnreachable",
    "UnknownMirror",
    "UnknownProjection",
    "UnreadableEvent",
    "UnreadablePayload",
    "VerificationFailed",
    "VersionChanged",
    "WorkerProcessesEnded",
    "WrongExpectedVersion",
]
