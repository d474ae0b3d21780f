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
        enable_rollback: Whether what runs replace is kept to be rolled back to, as
            `retained_generations` and `retained_days` say. Without, nothing is kept, and only
            snapshots can be rolled back to.
        rollback_on_failure: In place: bring back what stood there when a run that repairs keys
            fails or is cancelled, as the request's field of that name does.
        create_backup: In place: before a run repairs keys, keep what stands there as a generation
            to roll back to, as the request's field of that name does.
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
    enable_rollback: bool = True
    rollback_on_failure: bool = False
    create_backup: bool = False
    retained_generations: Annotated[int, Field(ge=0, le=100)] = 1
    retained_days: Annotated[float, Field(gt=0)] | None = None
    auto_start: bool = False

    @model_validator(mode="after")
    def _can_be_declared(self) -> BackfillPolicy:
        if self.criteria is Criteria.DEAD_LETTERS:
            raise ValueError("criteria: dead_letters is for requests only")
        self._way_back_agrees()
        return self

    def _way_back_agrees(self) -> None:
        said = self.model_fields_set
        for name in ("rollback_on_failure", "create_backup"):
            if getattr(self, name) and not self.enable_rollback:
                raise ValueError(f"{name}: expected with enable_rollback, which is False here")
        if not self.enable_rollback and "retained_generations" in said:
            if self.retained_generations:
                raise ValueError(
                    "retained_generations: expected 0, or none, without enable_rollback, got "
                    f"{self.retained_generations}"
                )
        elif not self.retained_generations:
            for name in ("enable_rollback", "create_backup"):
                if name in said and getattr(self, name):
                    raise ValueError(f"{name}: expected with retained_generations of 1 or more")

    @property
    def kept_generations(self) -> int:
        """How many replaced generations are kept: none without `enable_rollback`."""
        return self.retained_generations if self.enable_rollback else 0


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
