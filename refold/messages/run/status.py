"""Where a run is in its life: one vocabulary, in the database as in the workflow."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class RunStatus(StrEnum):
    """Where a run is in its life; ``-ing`` is asked for or under way, ``-ed`` is settled.

    The column ``status`` of ``refold.runs`` is ``running`` until the run has ended, then how it
    ended. The workflow knows the rest.
    """

    PENDING = "pending"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    AWAITING_APPROVAL = "awaiting_approval"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    UNDONE = "undone"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return not TRANSITIONS[self]

    def may_become(self, status: RunStatus) -> bool:
        """Whether a run may go from this status to another one; it may always stay."""
        return status is self or status in TRANSITIONS[self]


_S = RunStatus

TRANSITIONS: Mapping[RunStatus, tuple[RunStatus, ...]] = MappingProxyType(
    {
        # Its request is not looked at yet. A request that is refused fails it. Signals may come
        # before its first step.
        _S.PENDING: (_S.RUNNING, _S.ROLLING_BACK, _S.PAUSED, _S.CANCELLING, _S.FAILED),
        # It plans, folds, verifies, swaps, cleans up. It rolls back when it has failed in place
        # and brings back what stood there.
        _S.RUNNING: (
            _S.PAUSING,
            _S.PAUSED,
            _S.AWAITING_APPROVAL,
            _S.CANCELLING,
            _S.ROLLING_BACK,
            _S.COMPLETED,
            _S.FAILED,
        ),
        # It is asked to pause, and finishes the batches in hand. It goes back to what it was when
        # it is resumed, or when there is nothing left to pause.
        _S.PAUSING: (
            _S.PAUSED,
            _S.RUNNING,
            _S.AWAITING_APPROVAL,
            _S.ROLLING_BACK,
            _S.CANCELLING,
        ),
        # It does nothing until it is resumed, or cancelled.
        _S.PAUSED: (_S.RUNNING, _S.AWAITING_APPROVAL, _S.ROLLING_BACK, _S.CANCELLING),
        # A new table follows the log until a person approves or rejects it; a rejection is a
        # cancellation.
        _S.AWAITING_APPROVAL: (
            _S.RUNNING,
            _S.PAUSING,
            _S.PAUSED,
            _S.CANCELLING,
            _S.FAILED,
        ),
        # It stops and removes what it built. A swap that was made sooner stands: then it has
        # worked. It fails when it cannot end.
        _S.CANCELLING: (
            _S.CANCELLED,
            _S.ROLLING_BACK,
            _S.COMPLETED,
            _S.ROLLED_BACK,
            _S.FAILED,
        ),
        # A Rollback at its work, which ends as `rolled_back`; or another run that brings back
        # what stood there before, which ends as `undone`, or as `failed` if that fails.
        _S.ROLLING_BACK: (
            _S.ROLLED_BACK,
            _S.UNDONE,
            _S.PAUSING,
            _S.PAUSED,
            _S.CANCELLING,
            _S.FAILED,
        ),
        # Ends: nothing follows.
        _S.CANCELLED: (),
        _S.COMPLETED: (),
        _S.FAILED: (),
        _S.ROLLED_BACK: (),
        _S.UNDONE: (),
    }
)
"""What a run may become next; docs/understanding-progress.md shows the same table."""

WORKED = (RunStatus.COMPLETED, RunStatus.ROLLED_BACK)
"""How a run ends that has done what it was asked for; `rolled_back` is a Rollback's."""
