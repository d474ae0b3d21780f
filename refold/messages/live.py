"""What a live projection says of itself, and what its workflow tells its activity."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from refold.messages.base import Message
from refold.messages.recorded_event import RecordedEvent
from refold.messages.snapshots import SnapshotInfo
from refold.messages.step_failures import StepFailure
from refold.requests.runs import Request

RECENT = 50
"""Of system events, and of snapshots: so many of the latest a live projection's workflow knows."""


AUTO_START = "auto_start"
"""Who asks for the rebuild of a projection that builds itself."""


def auto_start_id(projection: str, version: int | str) -> str:
    """The workflow id of the run with which a version of a projection builds itself."""
    return f"auto-start/{projection}/{version}"


class LiveRequest(Request):
    """What `Projection` is started with.

    Attributes:
        projection: The projection's name.
        requested_by: Who asks, for the record.
        stopped: Begin stopped: requests are carried out, but the log is not followed until `start`.
    """

    stopped: bool = False


class LiveStatus(StrEnum):
    """Where a live projection is in its life."""

    STARTING = "starting"
    LIVE = "live"
    CATCHING_UP = "catching_up"
    STOPPED = "stopped"
    FAILED = "failed"
    NEEDS_REBUILD = "needs_rebuild"


class LiveError(Message):
    """Why a live projection stopped following.

    Attributes:
        type: Such as ``PoisonEvent``.
        message: What happened; of a poison event with position, type and stream.
        at: When, by the workflow's clock.
        position: Of a poison event: its position.
        event_type: Its type.
        stream_id: Its stream.
        transient: Whether it may work later though nobody mends anything.
        attempts: How often it has been tried since it last worked.
        next_attempt_at: When it is tried again without anybody's doing; None when only `restart`
            helps.
    """

    type: str
    message: str
    at: datetime
    position: int | None = None
    event_type: str | None = None
    stream_id: str | None = None
    transient: bool = False
    attempts: int
    next_attempt_at: datetime | None = None


class SnapshotTally(Message):
    """What an older worker has counted towards the next snapshot that a projection makes unasked.

    A worker of this version makes it as it follows.

    Attributes:
        since: From this position (exclusive): of the latest snapshot, or where one was last tried.
        upto: Up to this position (inclusive).
        events: How many events that count are there between, at least.
        due: Whether a snapshot is to be made now.
    """

    since: int
    upto: int
    events: int = 0
    due: bool = False


class LiveReport(Message):
    """What a segment of following came to.

    Attributes:
        status: ``live``, ``catching_up`` or ``needs_rebuild``.
        generation: The generation that is followed; None when there is none.
        version: The version that built it.
        followed: Whether a generation is followed, also one that an older version has built.
        position: Its checkpoint.
        head: The settled head.
        waiting_for: Open transactions that keep the head where it is.
        events: Events applied in this segment.
        late_events: Events that appeared in passed gaps, whose keys were folded anew in this
            segment.
        at: When this was so, by the database's clock.
        note: Why it needs a rebuild; None when it does not.
        rebuild_to: The version that is to be built unasked; None unless the projection says so.
        system_events: What has been recorded since the segment's `known`.
        snapshots: The projection's latest snapshots, the newest first.
        tally: See `SnapshotTally`; None from a worker of this version.
        is_listed: Whether Temporal's server has Refold's search attributes.
    """

    status: LiveStatus
    generation: int | None = None
    version: int | None = None
    followed: bool = False
    position: int | None = None
    head: int = 0
    waiting_for: list[str] = Field(default_factory=list)
    events: int = 0
    late_events: int = 0
    at: datetime
    note: str | None = None
    rebuild_to: int | None = None
    system_events: list[RecordedEvent] = Field(default_factory=list)
    snapshots: list[SnapshotInfo] = Field(default_factory=list)
    tally: SnapshotTally | None = None
    is_listed: bool = False


class LiveSegment(Message):
    """Tells `follow_live` what to follow, and for how long.

    Attributes:
        projection: The projection.
        seconds: For how long.
        started: Following begins with this segment: the key under which that is recorded.
        known: The number of the latest system event that the workflow knows.
        tally: What has been counted towards the next snapshot.
    """

    projection: str
    seconds: Annotated[float, Field(gt=0)]
    started: str | None = None
    known: int = 0
    tally: SnapshotTally | None = None


class LiveHealth(Message):
    """The answer to the query `health`.

    Attributes:
        projection: The projection.
        status: Where it is in its life.
        report: How its latest segment ended; None before the first.
        error: Why it failed, as long as it has not worked since.
        failing: The last failure of a step that is being tried again; None when none is.
        waiting_for: Who or what holds the step under way up; empty when nothing does.
    """

    projection: str
    status: LiveStatus
    report: LiveReport | None = None
    error: LiveError | None = None
    failing: StepFailure | None = None
    waiting_for: list[str] = Field(default_factory=list)


class LiveState(Message):
    """What a live projection's workflow carries over when it continues as new.

    Attributes:
        stopped: Whether it is stopped.
        started: Whether that it follows has been recorded.
        restart_at: When it is restarted by a request.
        rebuilt_to: The version whose rebuild was started unasked, whether it worked or not.
        health: How it is.
        system_events: The latest ones, for the query.
        tally: What has been counted towards the next snapshot.
    """

    stopped: bool
    started: bool = False
    restart_at: datetime | None = None
    rebuilt_to: int | None = None
    health: LiveHealth
    system_events: list[RecordedEvent] = Field(default_factory=list)
    tally: SnapshotTally | None = None


class RecordSystemEvent(Message):
    """Tells `record_system_event` what has happened.

    Attributes:
        type: One of Refold's own system events.
        projection: The projection.
        data: Its fields.
        correlation_id: Ties it to what asked for it.
        key: Recorded before under this key, it is not recorded again.
        known: The number of the latest system event that the workflow knows.
    """

    type: str
    projection: str
    data: dict[str, Any] = Field(default_factory=dict)
    correlation_id: str | None = None
    key: str
    known: int = 0


class RecordedNow(Message):
    """What `record_system_event` came to.

    Attributes:
        fresh: Whether it had not been recorded before.
        system_events: What has been recorded since `known`.
    """

    fresh: bool
    system_events: list[RecordedEvent]


class ReadSystemEvents(Message):
    """Tells `read_system_events` what is known already."""

    projection: str
    known: int
