"""When a new table waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from refold.messages.run.approval import reasons_to_wait
from refold.messages.run.diff import Diff
from refold.messages.run.plan import Plan
from refold.requests.runs import Approval


def plan(**fields: Any) -> Plan:
    numbers = {"version": 1, "generation": 2, "position": 9, "head": 9, "partitions": 1}
    return Plan(
        run_id="r",
        projection="p",
        atomic=True,
        max_concurrency=1,
        batch_size=1,
        total_events=9,
        heartbeat_seconds=10,
        **numbers,
        **fields,
    )


def diff(*, live: int, added: int = 0, removed: int = 0, changed: int = 0) -> Diff:
    return Diff(
        projection="p",
        live_generation=1,
        shadow_generation=2,
        position=9,
        rows_live=live,
        rows_shadow=live + added - removed,
        added=added,
        removed=removed,
        changed=changed,
        unchanged=live - removed - changed,
        columns=[],
        columns_added=[],
        columns_dropped=[],
        columns_retyped=[],
        samples=[],
        folded_again=0,
        folded_wrong=0,
        wrong=[],
        compared_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("settings", "changes", "waits"),
    [
        ({}, diff(live=100, changed=100), False),
        ({"approval": Approval.MANUAL}, diff(live=100), True),
        ({"max_changed_percent": 3}, diff(live=100, added=1, removed=1, changed=1), False),
        ({"max_changed_percent": 3}, diff(live=100, added=2, removed=1, changed=1), True),
        ({"max_changed_percent": 0}, diff(live=100), False),
        ({"max_removed_rows": 2}, diff(live=100, removed=2, changed=50), False),
        ({"max_removed_rows": 2}, diff(live=100, removed=3), True),
        ({"max_changed_percent": 1, "max_removed_rows": 0}, diff(live=0, added=7), False),
        ({"approval": Approval.MANUAL}, diff(live=0, added=7), True),
    ],
)
def test_limits_are_inclusive(settings: dict[str, Any], changes: Diff, waits: bool) -> None:
    assert bool(reasons_to_wait(plan(**settings), changes)) is waits


def test_each_limit_that_is_passed_is_named() -> None:
    both = plan(max_changed_percent=1.5, max_removed_rows=0)
    changed, removed = reasons_to_wait(both, diff(live=1000, removed=20))
    assert changed == "approval: 2.00 % of the live rows change, max_changed_percent is 1.5"
    assert removed == "approval: 20 rows are removed, max_removed_rows is 0"
