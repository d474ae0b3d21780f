"""What people are told of schedules: runs that Temporal starts by the calendar."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from refold.messages.base import Message


class ScheduleInfo(Message):
    """A schedule that starts runs.

    Attributes:
        id: Its id, by which it is removed.
        projection: The projection.
        workflow: The workflow type that it starts, such as ``Backfill``.
        when: The cron expressions, as Temporal has them: ``@daily`` is ``0 0 * * *``.
        time_zone: In which they are meant; None for UTC.
        request: What each run is started with.
        next_run: When the next one begins; None when none does any more.
        last_run: When the last one was due; None before the first.
        last_workflow_id: Under which workflow id the last one was started.
        skipped: How many were left out, as the one before was running still.
        paused: Whether it starts none for now.
    """

    id: str
    projection: str
    workflow: str
    when: list[str]
    time_zone: str | None = None
    request: dict[str, Any]
    next_run: datetime | None = None
    last_run: datetime | None = None
    last_workflow_id: str | None = None
    skipped: int = 0
    paused: bool = False
