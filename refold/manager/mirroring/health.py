"""How mirrors are: what the database and their workflows say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from refold.messages.base import Message
from refold.messages.mirrors import MirrorProgress, MirrorStatus
from refold.store.leases import SILENCE_SECONDS
from refold.store.mirrors.cursors import MirrorRow

_AT_WORK = (MirrorStatus.LIVE, MirrorStatus.CATCHING_UP)


class MirrorHealth(Message):
    """How a mirror is.

    Attributes:
        mirror: Its name.
        source: What it copies from, ``module:name``.
        status: Where it is in its life; ``cancelled`` when it was ended on purpose.
        is_healthy: Whether it copies and no step fails, or was ended on purpose.
        reason: Why it is not healthy; None when it is.
        events: How many events it has copied.
        position: The position of the last one in the log; None for none.
        lag_seconds: Age of the last one, by `recorded_at`; 0 when the source had no more, None when
            nothing was copied yet.
        cursor: How far it is in its source, as the source has it.
        seen_at: When it last showed itself in the database.
        events_per_second: How fast it was lately; None when it copied nothing.
        waiting_for: Who or what holds it up; empty when nothing does.
    """

    mirror: str
    source: str
    status: MirrorStatus
    is_healthy: bool
    reason: str | None
    events: int
    position: int | None = None
    lag_seconds: float | None = None
    cursor: Any = None
    seen_at: datetime
    events_per_second: float | None = None
    waiting_for: list[str] = Field(default_factory=list)


def judged(row: MirrorRow, progress: MirrorProgress | None, *, answers: bool) -> MirrorHealth:
    """The health that a mirror's row and its workflow's answer make.

    Args:
        row: What the database says.
        progress: What its workflow says; None when it does not run, or does not answer.
        answers: Whether it is known that none runs, if there is no answer.
    """
    status = progress.status if progress is not None else MirrorStatus.STARTING
    if progress is None and answers:
        status = MirrorStatus.FAILED if row.ended_at is None else MirrorStatus.CANCELLED
    reason = _reason(row, progress, status)
    return MirrorHealth(
        mirror=row.mirror,
        source=row.source,
        status=status,
        is_healthy=reason is None,
        reason=reason,
        events=row.events,
        position=row.position,
        lag_seconds=None if row.lag_seconds is None else round(row.lag_seconds, 3),
        cursor=row.cursor,
        seen_at=row.seen_at,
        events_per_second=progress.events_per_second if progress else None,
        waiting_for=progress.waiting_for if progress else [],
    )


def _reason(row: MirrorRow, progress: MirrorProgress | None, status: MirrorStatus) -> str | None:
    command = f"refold events mirror {row.mirror}"
    reasons = {
        MirrorStatus.STARTING: "it is starting, or no worker answers",
        MirrorStatus.PAUSED: f"it is paused: `{command} --resume`",
        MirrorStatus.FAILED: f"its workflow does not run any more: `{command}` starts it",
    }
    if progress is not None and progress.error is not None:
        return f"it stands: {progress.error.message}; `{command} --resume` tries again"
    if progress is not None and progress.failing is not None:
        return str(progress.failing)
    if status in _AT_WORK:
        return _silence(row, progress)
    return None if status is MirrorStatus.CANCELLED else reasons.get(status, f"it is {status}")


def _silence(row: MirrorRow, progress: MirrorProgress | None) -> str | None:
    seconds = (datetime.now(UTC) - row.seen_at).total_seconds()
    if seconds <= SILENCE_SECONDS:
        return None
    waits = ""
    if progress is not None and progress.waiting_for:
        waits = f", it waits for {'; '.join(progress.waiting_for)}"
    return f"it has not shown itself for {seconds:,.0f} s{waits}: look at the workers' logs"
