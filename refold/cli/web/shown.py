"""A projection as the page shows it: a row of JSON, with or without what may quote an event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from refold.cli.status.state import Standing, is_being_rebuilt
from refold.manager.mirroring.health import MirrorHealth
from refold.messages.live import LiveStatus
from refold.messages.run.life import Progress
from refold.messages.run.status import RunStatus
from refold.messages.step_failures import StepFailure

_AS_THEY_ARE = (
    *("projection", "state", "since", "next_command", "version", "versions", "generation"),
    *("generation_version", "position", "head", "events_behind", "lag_seconds", "rows"),
    *("swapped_at", "rollback_to", "held_by", "dead_letters", "next_schedule"),
)
_STEERED: dict[str, tuple[str, ...]] = {
    RunStatus.AWAITING_APPROVAL: ("approve", "reject"),
    RunStatus.PAUSING: ("resume", "cancel"),
    RunStatus.PAUSED: ("resume", "cancel"),
    RunStatus.CANCELLING: (),
}
_AT_WORK = ("pause", "cancel")


def shown(row: Standing, progress: Progress | None, *, control: bool) -> dict[str, Any]:
    """A row of the page.

    Args:
        row: How the projection stands.
        progress: That of its run; None when there is none, or no worker answers.
        control: Whether there are buttons, and errors are told in full: what a handler raises may
            quote an event.
    """
    run = row["run"]
    return {
        **{name: row[name] for name in _AS_THEY_ARE},
        "live": None if row["live"] is None else row["live"]["status"],
        "run": None if run is None else _run(run, progress),
        "waiting_for": list(dict.fromkeys(_waits(row))),
        "trouble": list(dict.fromkeys(_trouble(row, control=control))),
        "offers": list(offers(row)) if control else [],
    }


def offers(row: Standing) -> tuple[str, ...]:
    """What can be asked of a projection as it stands."""
    run = row["run"]
    if run is not None and run["ended_at"] is None:
        return _STEERED.get(run["status"], _AT_WORK)
    return ("rebuild", "rollback") if row["rollback_to"] else ("rebuild",)


def _run(run: dict[str, Any], progress: Progress | None) -> dict[str, Any]:
    names = ("kind", "workflow_id", "run_id", "status", "phase", "started_at", "ended_at")
    told = {name: run[name] for name in names}
    if progress is None or run["ended_at"] is not None:
        return {**told, "progress": None}
    counted = {
        "percent": progress.percent_complete,
        "events": progress.events_processed,
        "total": progress.total_events,
        "per_second": progress.events_per_second,
        "seconds_left": progress.estimated_seconds_remaining,
        "keyed": progress.keyed_events,
        "to_key": progress.events_to_key,
        "dead_letters": progress.dead_letters,
        "note": progress.note,
        "partitions": [
            [one.events_processed, one.total_events, one.done] for one in progress.partitions
        ],
    }
    return {**told, "progress": counted, "obstacles": progress.obstacles}


def _waits(row: Standing) -> Iterator[str]:
    run, live = row["run"], row["live"]
    if run is not None and run["ended_at"] is None:
        yield from run["waiting_for"]
        if run["holding"]:
            yield run["holding"]
    if live is not None:
        yield from live["waiting_for"]


def _trouble(row: Standing, *, control: bool) -> Iterator[str]:
    """Each trouble in a sentence. Read-only it has no words of people's code."""
    run, live = row["run"], row["live"]
    hidden = f"`refold status {row['projection']}` says why"
    if run is not None and run["status"] == RunStatus.FAILED:
        yield f"{run['kind']} failed: {run['error'] if control else hidden}"
    for failing in row["failing"]:
        yield str(failing) if control else _without_words(failing)
    for left in row["left_behind"]:
        yield f"{left['item']}, since {left['since']:%Y-%m-%d %H:%M:%S}: {left['reason']}"
    if live is None or is_being_rebuilt(row):
        return
    if live["error"] is not None:
        yield f"live: {live['error'] if control else hidden}"
    # With steps that fail, the reason repeats them.
    elif live["reason"] and not row["failing"] and live["status"] in _WITH_REASON:
        yield f"live: {live['reason']}"


def shown_mirror(mirror: MirrorHealth, *, control: bool) -> dict[str, Any]:
    """A mirror as the page shows it; `control` as for `shown`."""
    names = {"mirror", "status", "events", "lag_seconds", "waiting_for", "reason"}
    told = mirror.model_dump(mode="json", include=names)
    if mirror.reason is not None and not control:
        told["reason"] = "`refold status` says why"
    return told


_WITH_REASON = (LiveStatus.NEEDS_REBUILD, LiveStatus.LIVE)


def _without_words(failing: StepFailure) -> str:
    return str(failing.model_copy(update={"message": failing.type}))
