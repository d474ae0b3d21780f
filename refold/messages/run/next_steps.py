"""What a person can do about a run: the signals and the commands, by where it stands."""

from __future__ import annotations

from refold.messages.markdown import code
from refold.messages.run.endings import Why
from refold.messages.run.status import RunStatus

_HOLD = ("pause", "cancel")
_GO_ON = ("resume", "cancel")
_DECIDE = ("approve", "reject")

_SIGNALS = {
    RunStatus.PENDING: ("cancel",),
    RunStatus.RUNNING: _HOLD,
    RunStatus.ROLLING_BACK: _HOLD,
    RunStatus.PAUSING: _GO_ON,
    RunStatus.PAUSED: _GO_ON,
    RunStatus.AWAITING_APPROVAL: _DECIDE,
}

_WHAT = {
    "pause": "holds it after the batches in hand",
    "resume": "lets it go on",
    "cancel": "stops it",
    "approve": "lets the new table go live",
    "reject": "discards it",
}

_SETS_ASIDE = ("Backfill", "Rebuild")

_COMMANDS = {
    "Backfill": "backfill",
    "Rebuild": "rebuild",
    "Rollback": "rollback",
    "Snapshot": "snapshots create",
}


def next_steps(
    status: RunStatus, kind: str, projection: str | None, failure: Why | None = None
) -> str | None:
    """The next steps in a sentence or two of Markdown; None when there is nothing to do.

    Args:
        status: Where the run is in its life.
        kind: The workflow, such as ``Rebuild``.
        projection: The projection; None when the request was refused.
        failure: Why it has failed, or was cancelled.
    """
    if status.ended:
        return _after_the_end(status, kind, projection, failure)
    signals = _SIGNALS.get(status, ())
    if not signals:
        return None
    said = ", ".join(f"{code(signal)} {_WHAT[signal]}" for signal in signals)
    if projection is None:
        return f"Signals: {said}."
    commands = ", ".join(code(f"refold {signal} {projection}") for signal in signals)
    return f"Signals: {said}. Or type {commands}."


def _after_the_end(
    status: RunStatus, kind: str, projection: str | None, failure: Why | None
) -> str:
    if projection is None:
        return "Correct the request, and start it again."
    if status in (RunStatus.COMPLETED, RunStatus.ROLLED_BACK):
        return f"{code(f'refold status {projection}')} shows what readers query."
    again = f"refold {_COMMANDS.get(kind, kind.lower())} {projection}"
    if status is not RunStatus.FAILED:
        return f"{code(again)} starts it again."
    steps = f"Mend what it names, and start it again: {code(again)}. A reset would be refused."
    if failure is not None and failure.error_type == "PoisonEvent" and kind in _SETS_ASIDE:
        aside = f"{again} --on-poison set_aside"
        steps += f" Or let it go on without the rows of such events: {code(aside)}."
    return steps
