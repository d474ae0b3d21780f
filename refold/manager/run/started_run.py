"""A run that a manager has started."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StartedRun:
    """A run that has been started.

    Attributes:
        workflow_id: Its workflow id.
        run_id: Its run id, as in ``refold.runs``.
    """

    workflow_id: str
    run_id: str
