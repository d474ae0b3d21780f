"""How a workflow appears in Temporal's list: its search attributes and its memo."""

from __future__ import annotations

from collections.abc import Mapping

from temporalio import workflow
from temporalio.common import SearchAttributeKey

with workflow.unsafe.imports_passed_through():
    from refold.messages import search_attributes as names
    from refold.messages.run.life import Progress
    from refold.messages.run.plan import Plan
    from refold.requests.runs import Request

_KEYS = {name: SearchAttributeKey.for_keyword(name) for name in names.SEARCH_ATTRIBUTES}

# What a server keeps of a keyword.
_MOST_CHARACTERS = 200


class Listed:
    """Sets search attributes once it is known that the server has them, and when they change."""

    def __init__(self) -> None:
        self._is_on = False
        self._shown: dict[str, str] = {}

    def turn_on(self, memo: Mapping[str, object]) -> None:
        """The server has the attributes, as an activity of this run has found.

        Args:
            memo: What else is shown beside the workflow, by name.
        """
        if not self._is_on:
            self._is_on = True
            if memo:
                workflow.upsert_memo(memo)

    def show(self, attributes: Mapping[str, str | None]) -> None:
        """Sets those that have changed; None leaves one as it is."""
        if not self._is_on:
            return
        changed = {
            name: value
            for name, value in attributes.items()
            if value is not None and self._shown.get(name) != value
        }
        if changed:
            self._shown.update(changed)
            workflow.upsert_search_attributes(
                [
                    SearchAttributeKey.for_keyword(name).value_set(value)
                    for name, value in changed.items()
                ]
            )


def attributes_of(request: Request | None, progress: Progress, kind: str) -> dict[str, str | None]:
    """The search attributes of a run."""
    return {
        names.PROJECTION: _keyword(request, "projection"),
        names.KIND: kind,
        names.STATUS: progress.status.value,
        names.PHASE: progress.phase.value,
        names.REQUESTED_BY: _keyword(request, "requested_by"),
        names.TENANT: _keyword(request, "tenant"),
    }


def _keyword(request: Request | None, field: str) -> str | None:
    value = getattr(request, field, None)
    return None if not value else str(value)[:_MOST_CHARACTERS]


def memo_of(plan: Plan) -> dict[str, object]:
    """What is shown beside a run in Temporal's list: what it builds, and of how many events."""
    memo: dict[str, object] = {
        "version": plan.version,
        "generation": plan.generation,
        "events": plan.total_events,
        "atomic": plan.atomic,
    }
    if plan.selection is not None:
        memo["criteria"] = plan.selection.criteria.value
    return memo
