"""The end of a process: what was measured last is sent before it goes."""

from __future__ import annotations

from opentelemetry import metrics, trace

_MILLISECONDS = 5_000


def flush_telemetry() -> None:
    """Sends what has not been sent yet; waits for at most five seconds for each signal."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        force_flush = getattr(provider, "force_flush", None)
        if force_flush is not None:
            force_flush(_MILLISECONDS)
