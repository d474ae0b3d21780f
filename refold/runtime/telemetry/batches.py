"""One batch, as traces and metrics have it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from refold.runtime.telemetry.metrics import BATCH_SECONDS, EVENTS, OPERATION, PROJECTION
from refold.runtime.telemetry.traces import tracer


@dataclass
class Measured:
    """What a batch came to.

    Attributes:
        events: How many events it has taken.
        position: The checkpoint that it has committed; None where it moves none.
    """

    events: int = 0
    position: int | None = None


@contextmanager
def batch(operation: str, projection: str, *, events: int = 0) -> Iterator[Measured]:
    """Traces a batch, and counts it when it is committed: when nothing is raised.

    Args:
        operation: What it is a part of: ``refold``, ``follow`` or ``live``.
        projection: Whose.
        events: How many events it takes, where that is known before.
    """
    about = {PROJECTION: projection, OPERATION: operation}
    measured = Measured(events)
    began = time.perf_counter()
    with tracer.start_as_current_span(f"{operation} batch", attributes=about) as span:
        yield measured
        span.set_attribute("refold.events.applied", measured.events)
        if measured.position is not None:
            span.set_attribute("refold.position", measured.position)
    EVENTS.add(measured.events, about)
    BATCH_SECONDS.record(time.perf_counter() - began, about)
