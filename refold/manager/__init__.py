"""Refold from Python: runs, live projections, snapshots, schedules, dead letters, health."""

from __future__ import annotations

from refold.errors import AlreadyRunning, NoRun, NotAwaited, NotLive, RunFailed
from refold.manager.projections import ProjectionManager
from refold.manager.run.started_run import StartedRun

__all__ = [
    "AlreadyRunning",
    "NoRun",
    "NotAwaited",
    "NotLive",
    "ProjectionManager",
    "RunFailed",
    "StartedRun",
]
