"""Requests as objects: one function for each class."""

from __future__ import annotations

from datetime import UTC, datetime

from refold import (
    Approval,
    BackfillRequest,
    Criteria,
    Limits,
    RollbackRequest,
    SnapshotRequest,
    Throttle,
)


def backfill_request() -> None:
    """What the last week has touched, built aside, and approved by somebody."""
    request = BackfillRequest(
        projection="order-summary",
        criteria=Criteria.FROM_DATE,
        from_date=datetime(2026, 3, 1, tzinfo=UTC),
        is_atomic=True,
        approval=Approval.MANUAL,
        requested_by="ann",
    )
    print(request.model_dump(mode="json", exclude_none=True))


def rollback_request() -> None:
    """Back to a generation that is named."""
    print(RollbackRequest(projection="order-summary", to_generation=3, requested_by="ann"))


def snapshot_request() -> None:
    """A snapshot, and who wanted it."""
    print(SnapshotRequest(projection="order-summary", requested_by="ann"))


def limits() -> None:
    """At most a thousand events a second, two partitions at a time."""
    print(Limits(events_per_second=1000, max_concurrency=2))


def throttle() -> None:
    """A run that holds back while a replica is behind, or the shop is busy."""
    request = BackfillRequest(
        projection="order-summary",
        throttle=Throttle(
            max_replication_lag_seconds=5, hold_while="extract(hour FROM now()) BETWEEN 8 AND 18"
        ),
    )
    print(request.throttle)
