"""A live projection's health as people read it."""

from __future__ import annotations

from refold.messages.live import LiveHealth
from refold.messages.markdown import code, escaped, table
from refold.messages.snapshots import SnapshotInfo


def as_markdown(health: LiveHealth) -> str:
    """Health as the Temporal UI shows it under a workflow's details."""
    rows = []
    if report := health.report:
        rows += [
            ["generation", "none" if report.generation is None else str(report.generation)],
            ["checkpoint", "none" if report.position is None else f"{report.position:,}"],
            ["head", f"{report.head:,}"],
            *([["latest snapshot", _snapshot(report.snapshots[0])]] if report.snapshots else []),
            ["as of", f"{report.at:%Y-%m-%d %H:%M:%S %Z}"],
        ]
    lines = [f"### {escaped(health.projection)}", "", *table(["status", health.status], rows)]
    if health.report and health.report.waiting_for:
        lines += ["", "the head waits for " + escaped("; ".join(health.report.waiting_for))]
    if health.report and health.report.note:
        lines += ["", escaped(health.report.note)]
    if health.waiting_for:
        lines += ["", "waiting for " + escaped("; ".join(health.waiting_for))]
    if health.failing is not None:
        lines += ["", escaped(str(health.failing))]
    if error := health.error:
        command = code(f"refold restart {health.projection}")
        when = f"{command} tries again"
        if error.next_attempt_at is not None:
            when = f"tried again at {error.next_attempt_at:%H:%M:%S %Z}, or at once by {command}"
        lines += ["", escaped(f"{error.type}: {error.message}")]
        lines += ["", f"attempts: {error.attempts}; {when}"]
    return "\n".join(lines)


def _snapshot(latest: SnapshotInfo) -> str:
    return f"{latest.position:,}, kept as {'a copy' if latest.kept_as == 'copy' else 'changes'}"
