"""System events: what happens to projections and their runs, recorded in order, and asked for.

SystemEvent
├── ProjectionStarted, ProjectionStopped, ProjectionFailed             a live projection's life
├── ProjectionCheckpointSaved, ProjectionCheckpointRestored
├── ProjectionLateEventsApplied
├── ProjectionSnapshotCreated, ProjectionSnapshotRestored
├── ProjectionBackfillStarted, …Progress, …Completed, …Failed          a run's life, of any kind
├── ProjectionApprovalAwaited, ProjectionDeadLettered                   what somebody is to look at
├── SystemHandlerFailed                                                 a handler that was given up
└── ProjectionRequest                                                   asks for something
    ├── ProjectionBackfillRequested
    ├── ProjectionRollbackRequested
    └── ProjectionRestartRequested
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from refold.errors.codes import UNLISTED
from refold.messages.run.life import BackfillResult, Phase
from refold.messages.run.options import RunOptions
from refold.requests.instants import Instant
from refold.requests.runs import BackfillRequest, RollbackRequest


class SystemEvent(BaseModel):
    """Base of all system events, also of an application's own.

    Attributes:
        projection: Which projection it is about.
        correlation_id: Ties what comes of a request to the request.
    """

    # By name: as the fields are recorded, whatever aliases a subclass gives them.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_by_name=True)

    # What asks for something reaches the workflow as a signal of this name.
    signal: ClassVar[str | None] = None

    projection: str
    correlation_id: str | None = None


class ProjectionStarted(SystemEvent):
    """A live projection begins to follow the log, or goes on after a stop or a restart.

    Attributes:
        generation: What it follows; None when nothing was built yet.
    """

    generation: int | None = None


class ProjectionStopped(SystemEvent):
    """A live projection follows no further, by the signal `stop`."""


class ProjectionFailed(SystemEvent):
    """A live projection cannot go on.

    Attributes:
        error_type: Such as ``PoisonEvent``.
        code: Its stable code, such as ``RF301``; see docs/errors.md.
        is_transient: Whether it may work later though nobody mends anything.
        message: What happened.
        position: Of a poison event: its position.
        event_type: Its type.
        stream_id: Its stream.
        retry_attempt: How often it has been tried again since it last worked; 0 at first.
        next_attempt_at: When it is tried again without anybody's doing; None when only a restart
            helps.
    """

    error_type: str
    code: str = UNLISTED
    is_transient: bool = False
    message: str
    position: int | None = None
    event_type: str | None = None
    stream_id: str | None = None
    retry_attempt: int = 0
    next_attempt_at: datetime | None = None


class ProjectionCheckpointSaved(SystemEvent):
    """A live projection has come so far; sampled, a few times a minute at most.

    Attributes:
        position: The checkpoint.
    """

    position: int


class ProjectionCheckpointRestored(SystemEvent):
    """A live projection goes on from a checkpoint that was committed before.

    Attributes:
        position: The checkpoint.
    """

    position: int


class ProjectionLateEventsApplied(SystemEvent):
    """Events have appeared in gaps that were passed; the rows of their keys were folded anew.

    Attributes:
        generation: What is followed.
        events: How many they were, since the last of these system events.
        keys: How many keys they name.
        first_position: The lowest of their positions.
    """

    generation: int
    events: int
    keys: int
    first_position: int


class ProjectionSnapshotCreated(SystemEvent):
    """A snapshot was taken.

    Attributes:
        generation: The snapshot's generation.
        position: Its checkpoint.
    """

    generation: int
    position: int


class ProjectionSnapshotRestored(SystemEvent):
    """A snapshot's rows are live again, with all events since.

    Attributes:
        generation: The snapshot's generation.
        position: The live table's checkpoint.
    """

    generation: int
    position: int


class _OfRun(SystemEvent):
    """What the events of a run's life have in common.

    Attributes:
        run_id: The run, as in ``refold.runs``.
        kind: The workflow type: ``Backfill``, ``Rebuild``, ``Rollback`` …
    """

    run_id: str
    kind: str


class ProjectionBackfillStarted(_OfRun):
    """A run has its lease and its plan.

    Attributes:
        generation: The generation that it writes.
        total_events: Events that it is going to fold.
        options: What it goes by: the request, with what the projection declares.
        requested_by: Who asked for it, if anybody said.
    """

    generation: int
    total_events: int
    options: RunOptions = RunOptions()
    requested_by: str | None = None


class ProjectionBackfillProgress(_OfRun):
    """A run has come so far; sampled, at most one in a hundredth of the work.

    Attributes:
        events_processed: Events folded and committed.
        total_events: Events known to be folded in all.
        percent_complete: From 0 to 100; 100 only when completed.
        phase: What it is doing.
        events_per_second: Since the last of these events, or since the start.
        estimated_seconds_remaining: None as long as nothing can be said.
    """

    events_processed: int
    total_events: int
    percent_complete: float = 0.0
    phase: Phase = Phase.REFOLDING
    events_per_second: float = 0.0
    estimated_seconds_remaining: float | None = None


class ProjectionBackfillCompleted(_OfRun):
    """A run has done what it was asked for.

    Attributes:
        status: ``completed``, or ``rolled_back`` of a rollback.
        generation: The generation that readers query now.
        position: Its checkpoint.
        events_processed: Events folded, counting each once.
        from_date: The first moment of the events that were selected; None for no such bound.
        to_date: The moment before which they were recorded (exclusive); None for no such bound.
        result: The run's result; None of a run of an older version.
    """

    status: str
    generation: int | None = None
    position: int | None = None
    events_processed: int = 0
    from_date: Instant | None = None
    to_date: Instant | None = None
    result: BackfillResult | None = None


class ProjectionBackfillFailed(SystemEvent):
    """A run has not done what it was asked for, or was refused.

    Attributes:
        run_id: The run; None for a request that could not become one.
        kind: The workflow type.
        status: ``failed`` or ``cancelled``; ``undone`` when what stood there was brought back.
        error: Why.
        error_type: Such as ``PoisonEvent``; ``Cancelled`` of a run that was cancelled.
        code: Its stable code, such as ``RF301``; see docs/errors.md.
        is_transient: Whether the same may work later though nobody mends anything.
    """

    run_id: str | None = None
    kind: str
    status: str
    error: str
    error_type: str = ""
    code: str = UNLISTED
    is_transient: bool = False


class ProjectionApprovalAwaited(_OfRun):
    """A run has built its table, and a person is to say whether it goes live; once a run.

    Attributes:
        generation: What is to go live.
        reasons: Why a person is asked.
    """

    generation: int
    reasons: list[str] = []


class ProjectionDeadLettered(SystemEvent):
    """Poison events were set aside; once a run, of a live projection every ten seconds at most.

    Attributes:
        generation: The generation in which their keys are held.
        dead_letters: How many the run, or the live projection, has set aside there.
        run_id: The run; None of the live projection.
        position: The latest one's; so are `event_type` and `error`.
    """

    generation: int
    dead_letters: int
    run_id: str | None = None
    position: int
    event_type: str
    error: str


class SystemHandlerFailed(SystemEvent):
    """A handler of system events was given an event so often in vain that it was given up.

    Attributes:
        handler: Its name.
        number: The event's number.
        error: What it raised last.
    """

    handler: str
    number: int
    error: str


class ProjectionRequest(SystemEvent):
    """Base of the events that ask for something."""


class ProjectionBackfillRequested(BackfillRequest, ProjectionRequest):
    """Asks for a backfill; all fields of a backfill request are accepted."""

    signal: ClassVar[str | None] = "ProjectionBackfillRequested"


class ProjectionRollbackRequested(RollbackRequest, ProjectionRequest):
    """Asks for a rollback; all fields of a rollback request are accepted."""

    signal: ClassVar[str | None] = "ProjectionRollbackRequested"


class ProjectionRestartRequested(ProjectionRequest):
    """Asks a live projection to go on at its checkpoint.

    Attributes:
        retry_attempt: The number of the attempt that this asks for; it is only recorded.
        delay_seconds: How long to wait before the restart, in seconds.
        requested_by: Who asks, for the record.
    """

    signal: ClassVar[str | None] = "ProjectionRestartRequested"

    retry_attempt: Annotated[int, Field(ge=0)] = 0
    delay_seconds: Annotated[float, Field(ge=0, le=86_400)] = 0
    requested_by: str | None = None
