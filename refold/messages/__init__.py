"""What crosses Temporal, or is kept as JSON. Pure."""

from __future__ import annotations

from refold.messages.run.life import (
    BackfillResult,
    BeginRollback,
    BeginRun,
    Continued,
    ControlRun,
    FollowedSegment,
    FollowSegment,
    PartitionProgress,
    Phase,
    Progress,
    ProgressReport,
    RefoldedSegment,
    RefoldSegment,
    WatchProgress,
)
from refold.messages.run.status import RunStatus

__all__ = [
    "BackfillResult",
    "BeginRollback",
    "BeginRun",
    "Continued",
    "ControlRun",
    "FollowSegment",
    "FollowedSegment",
    "PartitionProgress",
    "Phase",
    "Progress",
    "ProgressReport",
    "RefoldSegment",
    "RefoldedSegment",
    "RunStatus",
    "WatchProgress",
]
