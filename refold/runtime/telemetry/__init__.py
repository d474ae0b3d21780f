"""Traces, metrics and logs for machines: off, and free, unless the environment asks for them."""

from __future__ import annotations

from refold.runtime.telemetry.batches import Measured, batch
from refold.runtime.telemetry.traces import set_up_tracing, tracer

__all__ = ["Measured", "batch", "set_up_tracing", "tracer"]
