"""A mirror's progress as people read it."""

from __future__ import annotations

from refold.messages.markdown import code, escaped, table
from refold.messages.mirrors import MirrorProgress


def as_markdown(progress: MirrorProgress) -> str:
    """Progress as the Temporal UI shows it under a workflow's details."""
    rows = [["events", f"{progress.total_events:,}"]]
    if progress.position is not None:
        rows.append(["position", f"{progress.position:,}"])
    if progress.events_per_second is not None:
        rows.append(["events a second", f"{progress.events_per_second:,.0f}"])
    if progress.lag_seconds is not None:
        rows.append(["lag", f"{progress.lag_seconds:,.1f} s"])
    if progress.as_of is not None:
        rows.append(["as of", f"{progress.as_of:%Y-%m-%d %H:%M:%S %Z}"])
    title = f"### mirror of {escaped(progress.mirror)}"
    lines = [title, "", *table(["status", progress.status], rows)]
    if progress.waiting_for:
        lines += ["", "waiting for " + escaped("; ".join(progress.waiting_for))]
    if progress.failing is not None:
        lines += ["", escaped(str(progress.failing))]
    if progress.error is not None:
        command = code(f"refold events mirror {progress.mirror} --resume")
        lines += ["", escaped(f"{progress.error.type}: {progress.error.message}")]
        lines += ["", f"it stands until it is resumed: {command}"]
    return "\n".join(lines)
