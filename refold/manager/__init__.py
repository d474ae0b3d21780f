"""Refold from Python: runs, live projections, snapshots, schedules, dead letters, health."""

from __future__ import annotations

from refold.manager.projections import NoRun, NotAwaited, ProjectionManager
from refold.manager.runs import AlreadyRunning, RunFailed, StartedRun

__all__ = [
    "AlreadyRunning",
    "NoRun",
    "NotAwaited",
    "ProjectionManager",
    "RunFailed",
    "StartedRun",
]
