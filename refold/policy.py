"""How a projection wants to be backfilled, as its declaration says."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

BatchSize = Annotated[int, Field(ge=1, le=100_000)]
"""Events in one database transaction, from 1 to 100,000."""

Concurrency = Annotated[int, Field(ge=1, le=64)]
"""Partitions worked on at the same time, from 1 to 64."""


class BackfillPolicy(BaseModel):
    """A projection's own settings for its backfills and rebuilds; a request may override them.

    Attributes:
        batch_size: Events folded and written in one transaction.
        max_concurrency: Partitions worked on at the same time.
        partitions: Slices of the keys that a run is divided into; None lets the run decide by the
            number of events, up to `max_concurrency`.
        retained_generations: Replaced generations that are kept to be rolled back to, the latest
            ones; from 0 to 100.
        retained_days: How long they are kept at most, in days; None for as long as they are among
            the latest.
        auto_start: A live projection that was never built, or by another version, is rebuilt by
            itself: once for each version.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: BatchSize = 1000
    max_concurrency: Concurrency = 4
    partitions: Concurrency | None = None
    retained_generations: Annotated[int, Field(ge=0, le=100)] = 1
    retained_days: Annotated[float, Field(gt=0)] | None = None
    auto_start: bool = False
