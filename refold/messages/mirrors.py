"""What a mirror says of itself, and what its workflow tells its activities."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from refold.errors.words import shortened
from refold.messages.base import Message
from refold.messages.step_failures import StepFailure


def mirror_id(mirror: str) -> str:
    """The workflow id of a mirror."""
    return f"mirror/{mirror}"


class MirrorStatus(StrEnum):
    """Where a mirror is in its life."""

    STARTING = "starting"
    LIVE = "live"
    CATCHING_UP = "catching_up"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"


class MirrorLimits(Message):
    """How fast a mirror may go.

    Attributes:
        batch_size: Events in one transaction, at most.
        events_per_second: At most; 0 for no limit.
    """

    batch_size: int
    events_per_second: float = 0


class MirrorError(Message):
    """Why a mirror stands.

    Attributes:
        type: Such as ``MirrorConflict``.
        message: What happened, and what to do.
        at: When, by the workflow's clock.
    """

    type: str
    message: str
    at: datetime


class MirrorSegment(Message):
    """Tells `copy_events` what to copy, and for how long.

    Attributes:
        mirror: The mirror.
        limits: How fast.
        seconds: For how long.
        was_live: Whether it had caught up with its source.
        requested_by: Who has asked for the mirror.
    """

    mirror: str
    limits: MirrorLimits
    seconds: float
    was_live: bool = False
    requested_by: str | None = None


class MirrorReport(Message):
    """What a segment of copying came to.

    Attributes:
        events: Events copied in this segment.
        seconds: How long it took.
        total_events: Events copied since the mirror first began.
        position: The position of the last one in the log; None for none.
        caught_up: Whether the source had no more.
        lag_seconds: Age of the last event that was copied, by `recorded_at`; 0 when the source had
            no more, None when nothing was copied yet.
        at: When this was so, by the database's clock.
        heartbeat_seconds: After which silence of this worker another one is to take over.
        is_listed: Whether Temporal's server has Refold's search attributes.
    """

    events: int
    seconds: float
    total_events: int
    position: int | None = None
    caught_up: bool
    lag_seconds: float | None = None
    at: datetime
    heartbeat_seconds: float | None = None
    is_listed: bool = False


class EndMirror(Message):
    """Tells `end_mirror` which mirror was cancelled."""

    mirror: str


class MirrorProgress(Message):
    """The answer to the query `progress`.

    Attributes:
        mirror: The mirror.
        status: Where it is in its life.
        limits: How fast it may go.
        total_events: Events copied since it first began, as of its latest segment.
        events_per_second: Its pace in that segment; None when it copied nothing.
        position: The position of the last one in the log.
        lag_seconds: See `MirrorReport`.
        as_of: When that was so; None before the first segment has ended.
        error: Why it stands, as long as it does.
        failing: The last failure of a step that is being tried again; None when none is.
        waiting_for: Who or what holds it up; empty when nothing does.
        reason: Why it was cancelled.
    """

    mirror: str
    status: MirrorStatus
    limits: MirrorLimits
    total_events: int = 0
    events_per_second: float | None = None
    position: int | None = None
    lag_seconds: float | None = None
    as_of: datetime | None = None
    error: MirrorError | None = None
    failing: StepFailure | None = None
    waiting_for: list[str] = Field(default_factory=list)
    reason: str | None = None

    def after(self, report: MirrorReport) -> MirrorProgress:
        """The progress after a segment."""
        pace = round(report.events / report.seconds, 1) if report.events else None
        changes = {
            "status": MirrorStatus.LIVE if report.caught_up else MirrorStatus.CATCHING_UP,
            "total_events": report.total_events,
            "events_per_second": pace,
            "position": report.position,
            "lag_seconds": report.lag_seconds,
            "as_of": report.at,
            "error": None,
        }
        return self.model_copy(update=changes)

    def stopped(self, error_type: str, message: str, at: datetime) -> MirrorProgress:
        """The progress of a mirror that cannot go on until somebody has mended what it says."""
        error = MirrorError(type=error_type, message=shortened(message), at=at)
        return self.model_copy(update={"status": MirrorStatus.FAILED, "error": error})


class MirrorState(Message):
    """What a mirror's workflow carries over when it continues as new.

    Attributes:
        progress: How it is; limits and errors among it.
        paused: Whether it is paused.
        heartbeat_seconds: See `MirrorReport`.
        requested_by: Who has asked for it.
    """

    progress: MirrorProgress
    paused: bool = False
    heartbeat_seconds: float | None = None
    requested_by: str | None = None
