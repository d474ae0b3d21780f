"""Checkpoints: how often a live projection's is moved, and where it is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from refold.errors import InvalidProjection
from refold.requests.limits import BatchSize

SAME_DATABASE = "same_database"
"""The checkpoint is moved in the transaction that writes the rows, in their database."""

SEPARATE = "separate"
"""The checkpoint of a live projection is kept in a store, apart from the rows."""

SCHEMES: Mapping[str, str] = {
    "postgresql": "sql",
    "postgres": "sql",
    "redis": "redis",
    "rediss": "redis",
    "dynamodb": "dynamodb",
    "cosmosdb": "cosmosdb",
}
"""The store that an address is of, by how the address begins."""

STORES = tuple(dict.fromkeys(SCHEMES.values()))
"""What may keep a checkpoint apart from its rows; their addresses are settings of the workers."""


class Checkpoints(BaseModel):
    """A projection's own settings for its checkpoint.

    Attributes:
        every_n_events: While it is live the checkpoint is moved at least once in so many events
            (inclusive), from 1 to 100,000; with every batch when left out.
        every_seconds: And at least once in so many seconds of handling events, above 0, up to
            3,600; what comes first counts. An event in hand is not cut in two.
        storage: ``same_database``: beside the rows; ``separate``: in a store, while the projection
            is live. What the workers' setting ``REFOLD_CHECKPOINTS`` says when left out.
        store: Which store keeps it apart: ``sql``, ``redis``, ``dynamodb`` or ``cosmosdb``. That of
            ``REFOLD_CHECKPOINTS`` when left out.

    Raises:
        InvalidProjection: There is no such storage or store, or they contradict each other.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    every_n_events: BatchSize | None = None
    every_seconds: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] | None = None
    storage: str = SAME_DATABASE
    store: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_store(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("store") and given.get("storage") is None:
            return {**given, "storage": SEPARATE}
        return given

    @model_validator(mode="after")
    def _is_somewhere(self) -> Checkpoints:
        if self.storage not in (SAME_DATABASE, SEPARATE):
            raise InvalidProjection(
                f"checkpoints: storage: expected {SAME_DATABASE!r} or {SEPARATE!r}, got "
                f"{self.storage!r}"
            )
        if self.store not in (None, *STORES):
            listed = ", ".join(map(repr, STORES))
            raise InvalidProjection(
                f"checkpoints: store: expected one of {listed}, got {self.store!r}"
            )
        if self.storage == SAME_DATABASE and self.store is not None:
            raise InvalidProjection(
                f"checkpoints: store: expected none with storage {SAME_DATABASE!r}, got "
                f"{self.store!r}: leave one of them out"
            )
        return self

    def batch_size(self, wanted: int) -> int:
        """Events in one transaction: as many as are wanted, but no more than `every_n_events`."""
        return wanted if self.every_n_events is None else min(wanted, self.every_n_events)


def as_checkpoints(given: Checkpoints | None, settings: dict[str, Any]) -> Checkpoints:
    """What is given, with these settings instead of its own."""
    own = {} if given is None else given.model_dump(exclude_unset=True)
    return Checkpoints(**{**own, **settings})
