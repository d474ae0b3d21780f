"""When a live projection makes snapshots unasked, and how many of them it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MADE_BY_ITSELF = "snapshots of the projection"
"""What stands as the one who asks for snapshots that a live projection makes unasked."""


class SnapshotStrategy(StrEnum):
    """When snapshots are made, beside those that somebody asks for."""

    NONE = "none"
    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Snapshots(BaseModel):
    """A projection's own settings for snapshots: see `automatic`, `manual` and `none`.

    Attributes:
        strategy: When they are made.
        every_n_events: Of ``automatic``: after so many events of the types that it reads.
        trigger_on: Of ``manual``: after an event of one of these types.
        keep_last: How many of those made so are kept, the latest; None for all. What somebody has
            asked for stays until somebody drops it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: SnapshotStrategy = SnapshotStrategy.NONE
    every_n_events: Annotated[int, Field(ge=1, lt=2**63)] | None = None
    trigger_on: tuple[str, ...] = ()
    keep_last: Annotated[int, Field(ge=1, le=1000)] | None = None

    @classmethod
    def none(cls) -> Snapshots:
        """None are made unless somebody asks: each takes the room of the table once more."""
        return cls()

    @classmethod
    def automatic(cls, every_n_events: int = 1000, keep_last: int | None = 5) -> Snapshots:
        """One each time so many events have been applied since the latest snapshot.

        Args:
            every_n_events: Of the types that the projection reads; from 1.
            keep_last: So many are kept, from 1 to 1,000; None for all.
        """
        return cls(
            strategy=SnapshotStrategy.AUTOMATIC,
            every_n_events=every_n_events,
            keep_last=keep_last,
        )

    @classmethod
    def manual(
        cls, trigger_on: str | Iterable[str] = (), keep_last: int | None = None
    ) -> Snapshots:
        """One when an event of a type that you name has been applied.

        Args:
            trigger_on: One event type, or several; each needs a handler. None for snapshots that
                are made on demand only.
            keep_last: So many are kept, from 1 to 1,000; None for all.
        """
        types = (trigger_on,) if isinstance(trigger_on, str) else tuple(trigger_on)
        return cls(strategy=SnapshotStrategy.MANUAL, trigger_on=types, keep_last=keep_last)

    def counted(self, event_types: list[str]) -> tuple[list[str], int] | None:
        """The event types that count towards the next snapshot, and how many events make one due.

        Args:
            event_types: Those that the projection reads.

        Returns:
            None when no snapshots are made by themselves.
        """
        if self.strategy is SnapshotStrategy.AUTOMATIC and self.every_n_events is not None:
            return event_types, self.every_n_events
        return (list(self.trigger_on), 1) if self.trigger_on else None
