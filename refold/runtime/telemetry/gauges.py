"""Gauges of what is in the database: looked at by a worker, and told when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opentelemetry.metrics import CallbackOptions, Observation

from refold.runtime.telemetry.metrics import PROJECTION, meter

LAG_EVENTS = "refold.projection.lag"
LAG_SECONDS = "refold.projection.lag.duration"
CHECKPOINT_AGE = "refold.checkpoint.age"
GENERATION_AGE = "refold.generation.age"
APPROVAL_AGE = "refold.approval.age"
DEAD_LETTERS = "refold.dead_letters"

GAUGES = {
    LAG_EVENTS: ("{event}", "Settled events after the live checkpoint."),
    LAG_SECONDS: ("s", "Age of the oldest of these."),
    CHECKPOINT_AGE: ("s", "Time since the live checkpoint last moved."),
    GENERATION_AGE: ("s", "Time since the live table was swapped in."),
    APPROVAL_AGE: ("s", "Time for which a run has awaited approval."),
    DEAD_LETTERS: ("{event}", "Events that are set aside in the live table."),
}
"""Each gauge's unit and meaning."""


@dataclass
class Told:
    """What was seen last, by gauge and projection.

    Attributes:
        values: The figures; what is not known is not there, and is not told.
    """

    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def _of(self, gauge: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(options: CallbackOptions) -> Iterable[Observation]:
            # Another thread asks: what is there now is not changed any more.
            found = self.values.get(gauge, {})
            return [Observation(value, {PROJECTION: name}) for name, value in found.items()]

        return observe

    def tell(self) -> None:
        """Registers the gauges with this process's meter."""
        for name, (unit, description) in GAUGES.items():
            meter.create_observable_gauge(
                name, callbacks=[self._of(name)], unit=unit, description=description
            )
