"""Checkpoints: how often a live projection's is moved, and where it is kept."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from refold.errors import InvalidProjection
from refold.requests.limits import BatchSize

SAME_DATABASE = "same_database"
"""The checkpoint is moved in the transaction that writes the rows, in their database."""


class Checkpoints(BaseModel):
    """A projection's own settings for its checkpoint.

    Attributes:
        every_n_events: While it is live the checkpoint is moved at least once in so many events
            (inclusive), from 1 to 100,000; with every batch when left out.
        storage: ``same_database``, always: anywhere else, a crash between rows and checkpoint would
            apply events twice, or not at all.

    Raises:
        InvalidProjection: Another storage is asked for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_n_events: BatchSize | None = None
    storage: str = SAME_DATABASE

    @model_validator(mode="after")
    def _is_with_the_rows(self) -> Checkpoints:
        if self.storage != SAME_DATABASE:
            raise InvalidProjection(
                f"checkpoints: storage: expected {SAME_DATABASE!r}, got {self.storage!r}: the "
                "checkpoint is moved in the transaction that writes the rows, so that neither is "
                "ever without the other; leave it out"
            )
        return self

    def batch_size(self, wanted: int) -> int:
        """Events in one transaction: as many as are wanted, but no more than `every_n_events`."""
        return wanted if self.every_n_events is None else min(wanted, self.every_n_events)


def as_checkpoints(given: Checkpoints | None, settings: dict[str, Any]) -> Checkpoints:
    """What is given, with these settings instead of its own."""
    own = {} if given is None else given.model_dump(exclude_unset=True)
    return Checkpoints(**{**own, **settings})
