"""What a run has been told since it began."""

from __future__ import annotations

from refold.messages.base import Message
from refold.requests.limits import Limits


class Controls(Message):
    """What a run has been told since it began; the higher revision counts.

    Attributes:
        revision: Goes up by one with everything that it is told.
        paused: Whether it is to do nothing until it is resumed.
        batch_size: Instead of the plan's; None for the plan's.
        max_concurrency: Instead of the plan's; None for the plan's.
        events_per_second: Instead of the plan's; None for the plan's, 0 for no limit.
    """

    revision: int = 0
    paused: bool = False
    batch_size: int | None = None
    max_concurrency: int | None = None
    events_per_second: float | None = None

    @property
    def limits(self) -> Limits | None:
        """The limits that it has been told; None when it has been told none."""
        told = {name: getattr(self, name) for name in Limits.model_fields}
        return None if set(told.values()) == {None} else Limits(**told)

    def told(self, **changes: object) -> Controls:
        """These controls after something more was said."""
        return self.model_copy(update={**changes, "revision": self.revision + 1})
