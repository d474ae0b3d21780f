"""What a live projection says of itself, and what its workflow tells its activity."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from refold.messages import Message
from refold.requests import Request


class LiveRequest(Request):
    """What `Projection` is started with.

    Attributes:
        projection: The projection's name.
        requested_by: Who asks, for the record.
    """


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
        attempts: How often it has been tried since it last worked.
        next_attempt_at: When it is tried again by itself; None when only `restart` helps.
    """

    type: str
    message: str
    at: datetime
    attempts: int
    next_attempt_at: datetime | None = None


class LiveReport(Message):
    """What a segment of following came to.

    Attributes:
        status: ``live``, ``catching_up`` or ``needs_rebuild``.
        generation: The generation that is followed; None when there is none.
        version: The version that built it.
        position: Its checkpoint.
        head: The settled head.
        waiting_for: Open transactions that keep the head where it is.
        events: Events applied in this segment.
        at: When this was so, by the database's clock.
        note: Why it needs a rebuild; None when it does not.
    """

    status: LiveStatus
    generation: int | None = None
    version: int | None = None
    position: int | None = None
    head: int = 0
    waiting_for: list[str] = Field(default_factory=list)
    events: int = 0
    at: datetime
    note: str | None = None


class LiveSegment(Message):
    """Tells `follow_live` what to follow, and for how long, in seconds."""

    projection: str
    seconds: Annotated[float, Field(gt=0)]


class LiveHealth(Message):
    """The answer to the query `health`.

    Attributes:
        projection: The projection.
        status: Where it is in its life.
        report: How its latest segment ended; None before the first.
        error: Why it failed, as long as it has not worked since.
    """

    projection: str
    status: LiveStatus
    report: LiveReport | None = None
    error: LiveError | None = None


class LiveState(Message):
    """What a live projection's workflow carries over when it continues as new."""

    stopped: bool
    health: LiveHealth
