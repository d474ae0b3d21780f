"""What is wrong with a request, as things stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from refold.errors.base import RefoldError


class InvalidRequest(RefoldError):
    """A request names a field or value that is not accepted."""


class NoSnapshot(RefoldError):
    """A snapshot that is not there."""

    def __init__(
        self, projection: str, there: Sequence[int], got: int | None, *, by: str = "generation"
    ) -> None:
        known = ", ".join(str(number) for number in there) or "none"
        named = "" if got is None else f", got {got}"
        super().__init__(
            f"projection {projection!r}: expected the {by} of a snapshot, there are "
            f"({known}){named}: `refold snapshots create {projection}` makes one"
        )


class NoSchedule(RefoldError):
    """A schedule that is not there, or does not start runs."""

    def __init__(self, schedule_id: str, there: Sequence[str]) -> None:
        known = ", ".join(there) or "none"
        super().__init__(
            f"schedule: expected the id of one that starts runs, there are ({known}), got "
            f"{schedule_id!r}: `refold schedule list` shows them"
        )


class ScheduleExists(RefoldError):
    """A schedule of the same id is there."""

    def __init__(self, schedule_id: str) -> None:
        super().__init__(
            f"schedule: expected a new id, {schedule_id!r} is there: give another one, or remove "
            f"it with `refold schedule remove {schedule_id}`"
        )


class ProjectionBusy(RefoldError):
    """Another run holds the projection; two writers on one read model are refused.

    Attributes:
        workflow_id: Its workflow id.
        run_id: Its run id, as in ``refold.runs``.
    """

    def __init__(
        self,
        projection: str,
        workflow_id: str,
        run_id: str,
        since: str,
        *,
        namespace: str | None = None,
        silent_since: str | None = None,
    ) -> None:
        """Args: the namespace only of a run of another installation; its silence only if long."""
        self.workflow_id = workflow_id
        self.run_id = run_id
        place = "" if namespace is None else f" of another installation, namespace {namespace!r},"
        silence = "" if silent_since is None else f", silent since {silent_since}"
        there = "it" if namespace is None else "it there"
        gone = ""
        if namespace is not None:
            gone = (
                "; if that installation is gone for good, "
                f"`refold release {projection} --run {run_id}` ends it"
            )
        super().__init__(
            f"projection {projection!r} is being written by workflow {workflow_id!r} "
            f"(run {run_id}){place} since {since}{silence}: wait until it ends, or cancel "
            f"{there}{gone}"
        )

    @classmethod
    def said(cls, message: str, workflow_id: str, run_id: str) -> Self:
        """The error, in the words in which it was said before."""
        made = cls("", workflow_id, run_id, "")
        made.args = (message,)
        return made

    @property
    def place(self) -> dict[str, Any]:
        """Which run it is, as JSON has it."""
        return {"workflow_id": self.workflow_id, "run_id": self.run_id}


class SwapRefused(RefoldError):
    """The live table has something attached that a swap would lose or break."""
