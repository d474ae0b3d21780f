"""How a projection wants to be backfilled, as its declaration says."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from refold.requests.criteria import Criteria, CriteriaFields
from refold.requests.instants import Instant
from refold.requests.limits import BatchSize, Concurrency, Pacing
from refold.requests.poison_policy import Poison


class BackfillPolicy(CriteriaFields, Pacing, Poison):
    """A projection's own settings for its backfills and rebuilds; a request may override them.

    `CriteriaFields`, `Pacing` and `Poison` (in `refold.requests`) have more.

    Attributes:
        criteria: What a `Backfill` repairs that names no criteria itself; ``full_rebuild`` when
            left out. A `Rebuild` is full unless its request says otherwise.
        start_from: The projection begins here: events recorded before are in no fold of it, nor in
            `Projection.fold`; None for the beginning of the log.
        batch_size: Events folded and written in one transaction.
        max_concurrency: Partitions worked on at the same time.
        partitions: Slices of the keys that a run is divided into; None lets the run decide by the
            number of events, up to `max_concurrency`.
        retained_generations: Replaced generations that are kept to be rolled back to, the latest
            ones; from 0 to 100.
        retained_days: How long they are kept at most, in days; None for as long as they are among
            the latest.
        auto_start: Whether the first worker with this version starts a rebuild, if the projection
            was never built or an older version has built it; once for each version.
    """

    start_from: Instant | None = None
    batch_size: BatchSize = 1000
    max_concurrency: Concurrency = 4
    partitions: Concurrency | None = None
    retained_generations: Annotated[int, Field(ge=0, le=100)] = 1
    retained_days: Annotated[float, Field(gt=0)] | None = None
    auto_start: bool = False

    @model_validator(mode="after")
    def _can_be_declared(self) -> BackfillPolicy:
        if self.criteria is Criteria.DEAD_LETTERS:
            raise ValueError("criteria: dead_letters is for requests only")
        return self


def backfill_from_beginning(**settings: Any) -> BackfillPolicy:
    """The policy of a read model that builds itself from all events, when a worker first sees it.

    Args:
        **settings: More of `BackfillPolicy`.
    """
    return BackfillPolicy(**{"auto_start": True, **settings})


def backfill_from(start: datetime | str, **settings: Any) -> BackfillPolicy:
    """The policy of a read model that builds itself from the events since a date.

    Args:
        start: The first moment (inclusive): an aware datetime, or RFC 3339.
        **settings: More of `BackfillPolicy`.
    """
    return BackfillPolicy(**{"auto_start": True, "start_from": start, **settings})
