"""When a new table waits for a person before it goes live."""

from __future__ import annotations

from refold.messages.run.diff import Diff
from refold.messages.run.plan import Plan
from refold.requests.runs import Approval


def reasons_to_wait(plan: Plan, diff: Diff) -> list[str]:
    """Why the new table does not go live by itself; empty when it does.

    Args:
        plan: With who approves, and within which limits (inclusive) nobody need.
        diff: What the new table changes; from nothing, limits do not count.
    """
    if plan.approval is Approval.MANUAL:
        return ["approval: manual"]
    if not diff.rows_live:
        return []  # there is nothing to lose
    reasons = []
    most = plan.max_changed_percent
    if most is not None and diff.changed_percent > most:
        reasons.append(
            f"approval: {diff.changed_percent:.2f} % of the live rows change, "
            f"max_changed_percent is {most:g}"
        )
    if plan.max_removed_rows is not None and diff.removed > plan.max_removed_rows:
        reasons.append(
            f"approval: {diff.removed:,} rows are removed, max_removed_rows is "
            f"{plan.max_removed_rows:,}"
        )
    return reasons
