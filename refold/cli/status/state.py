"""In one word where a projection is, since when, and what to type next."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from refold.messages.live import LiveStatus
from refold.messages.run.status import RunStatus

Standing = dict[str, Any]
"""How a projection stands, as `refold status --json` prints it."""

NOT_BUILT = "not built"
NOT_FOLLOWED = "not followed"
NOT_KNOWN = "not known"

_ON_A_RUN = {
    RunStatus.AWAITING_APPROVAL: "refold diff {}",
    RunStatus.PAUSED: "refold resume {}",
    RunStatus.PAUSING: "refold resume {}",
}
_ON_LIVE = {
    LiveStatus.FAILED: "refold restart {}",
    LiveStatus.NEEDS_REBUILD: "refold rebuild {}",
}


def state_of(standing: Standing) -> Standing:
    """The fields ``state``, ``since`` and ``next_command``.

    What a person has to decide comes first: a run that awaits approval or is paused; then a live
    projection that has failed, or needs a rebuild; then a run at work; then what it is otherwise.

    Args:
        standing: What the database and Temporal say.
    """
    name = standing["projection"]
    state, since, command = _state(standing)
    if command is None and standing["dead_letters"]:
        command = "refold dead-letters list {}"
    return {
        "state": state,
        "since": since,
        "next_command": None if command is None else command.format(name),
    }


_Found = tuple[str, datetime | None, str | None] | None


def _state(standing: Standing) -> tuple[str, datetime | None, str | None]:
    looks = (_to_decide, _live_in_trouble, _at_work, _without_rows, _followed, _failed)
    found = next(filter(None, (look(standing) for look in looks)), None)
    if found is not None:
        return found
    if standing["live"] is None:  # Temporal does not answer
        return NOT_KNOWN, None, None
    return NOT_FOLLOWED, standing["swapped_at"], "refold start {}"


def _going(standing: Standing) -> dict[str, Any] | None:
    run: dict[str, Any] | None = standing["run"]
    return run if run is not None and run["ended_at"] is None else None


def is_being_rebuilt(standing: Standing) -> bool:
    """Whether it needs a rebuild, and one is under way: there is nothing to type then."""
    run, live = _going(standing), standing["live"]
    wants = live is not None and live["status"] == LiveStatus.NEEDS_REBUILD
    return wants and run is not None and run["kind"] == "Rebuild"


def _to_decide(standing: Standing) -> _Found:
    run = _going(standing)
    if run is None or run["status"] not in _ON_A_RUN:
        return None
    return run["status"], run["started_at"], _ON_A_RUN[run["status"]]


def _live_in_trouble(standing: Standing) -> _Found:
    live = standing["live"]
    if live is None or live["status"] not in _ON_LIVE or is_being_rebuilt(standing):
        return None
    return live["status"], live["error_at"], _ON_LIVE[live["status"]]


def _at_work(standing: Standing) -> _Found:
    run = _going(standing)
    return None if run is None else (run["status"], run["started_at"], "refold watch {}")


def _without_rows(standing: Standing) -> _Found:
    if standing["generation"] is not None:
        return None
    run = standing["run"]
    if run is not None and run["status"] == RunStatus.FAILED:
        return run["status"], run["ended_at"], "refold rebuild {}"
    return NOT_BUILT, None, "refold rebuild {}"


def _followed(standing: Standing) -> _Found:
    live = standing["live"]
    if live is None or live["status"] == LiveStatus.STOPPED:
        return None
    return live["status"], standing["swapped_at"], None


def _failed(standing: Standing) -> _Found:
    """The latest run has failed, and nothing has been swapped in since."""
    run, swapped = standing["run"], standing["swapped_at"]
    if run is None or run["status"] != RunStatus.FAILED:
        return None
    if swapped is not None and run["ended_at"] < swapped:
        return None
    return run["status"], run["ended_at"], f"refold {run['kind'].lower()} {{}}"
