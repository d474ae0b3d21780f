"""What workflows are started with, and all that a request may say. Pure."""

from __future__ import annotations

from refold.requests.runs import (
    Approval,
    BackfillRequest,
    Request,
    RollbackRequest,
    SnapshotRequest,
)
from refold.requests.validation import accept_limits, accept_request

__all__ = [
    "Approval",
    "BackfillRequest",
    "Request",
    "RollbackRequest",
    "SnapshotRequest",
    "accept_limits",
    "accept_request",
]
