"""What workflows are started with: one JSON object each, decoded with care."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from refold.errors import InvalidRequest
from refold.requests.criteria import Criteria, CriteriaFields, Position
from refold.requests.limits import BatchSize, Concurrency, Pacing
from refold.requests.poison_policy import OnPoison, Poison


class Request(BaseModel):
    """Base of the requests: immutable, and strict about its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    projection: Annotated[str, Field(max_length=200)]
    requested_by: Annotated[str, Field(max_length=1000)] | None = None
    correlation_id: Annotated[str, Field(max_length=1000)] | None = None


class Approval(StrEnum):
    """Who decides that a new table goes live."""

    AUTO = "auto"
    MANUAL = "manual"


Percent = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rows = Annotated[int, Field(ge=0, lt=2**63)]
_Number = Field(lt=2**31)  # as PostgreSQL's integer

_FULL = (None, Criteria.FULL_REBUILD)
_LIMITS = ("max_changed_percent", "max_removed_rows")
_ASIDE_ONLY = ("approval", *_LIMITS)


class BackfillRequest(Poison, Pacing, CriteriaFields, Request):
    """What `Backfill` and `Rebuild` are started with.

    `CriteriaFields`, `Pacing` and `Poison`, in modules of their own, have more.

    Attributes:
        projection: The projection's name.
        criteria: What to repair. When left out: of a `Backfill` the projection's own, else
            ``full_rebuild``.
        tenant: Only keys of events of this tenant are repaired; the run shares the workers with
            others tenant by tenant.
        skip_events: With ``dead_letters``: positions of dead letters that are passed over from now
            on, by every fold of this projection.
        is_atomic: Build a new table and swap it in; `Rebuild` always does.
        batch_size: Events in one transaction; the projection's own when left out.
        max_concurrency: Partitions at a time; the projection's own when left out.
        approval: ``manual``: the new table waits for the signal `approve` before it goes live;
            ``auto`` (default): it goes live unless it is beyond one of the limits below.
        max_changed_percent: Rows added, removed and changed, in percent of the live rows, up to
            which (inclusive) the new table goes live without approval.
        max_removed_rows: Live rows that the new table lacks, up to which (inclusive) it goes live
            without approval.
        rollback_on_failure: In place: bring back what stood there when the run fails or is
            cancelled. An atomic run changes nothing unless it succeeds.
        create_backup: In place: keep what stood there as a generation to roll back to. A run that
            is atomic keeps what it replaces anyway.
        as_of: Atomic: fold the events up to this position (inclusive), no further, and go live
            there. At most the live table's checkpoint; its followers go on from there.
        dry_run: Plan only: the query `plan` and the result say what would be done; nothing is.
        requested_by: Who asks, for the record.
        correlation_id: Comes back in the system events that the run records.
    """

    tenant: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    skip_events: list[Position] | None = None
    is_atomic: bool | None = None
    batch_size: BatchSize | None = None
    max_concurrency: Concurrency | None = None
    approval: Approval | None = None
    max_changed_percent: Percent | None = None
    max_removed_rows: Rows | None = None
    rollback_on_failure: bool | None = None
    create_backup: bool | None = None
    as_of: Position | None = None
    dry_run: bool | None = None

    @model_validator(mode="after")
    def _agrees(self) -> BackfillRequest:
        limited = [name for name in _LIMITS if getattr(self, name) is not None]
        if limited and self.approval is Approval.MANUAL:
            raise ValueError(
                f"{limited[0]}: expected with approval auto only: manual always waits for a person"
            )
        if self.as_of is not None and (self.tenant or self.criteria not in _FULL):
            raise ValueError(
                "as_of: expected with criteria full_rebuild only, and without a tenant: anything "
                "else repairs a table that goes on to the head"
            )
        if self.tenant is not None and self.criteria is Criteria.INCREMENTAL_UPDATE:
            raise ValueError(
                "tenant: expected with criteria that repair keys: incremental_update applies all "
                "new events"
            )
        if self.skip_events is not None and self.criteria is not Criteria.DEAD_LETTERS:
            raise ValueError("skip_events: expected with criteria dead_letters only")
        return self

    def poison(self, declared: Poison) -> Poison:
        """See `Poison`; a retry of dead letters sets them aside again unless it says otherwise."""
        retries = self.criteria is Criteria.DEAD_LETTERS and self.on_poison is None
        own = self.model_copy(update={"on_poison": OnPoison.SET_ASIDE}) if retries else self
        return Poison.poison(own, declared)

    def require_fitting(self, *, atomic: bool) -> None:
        """Checks the fields that only have a meaning for an atomic run.

        Raises:
            InvalidRequest: One is set for a run that works in place.
        """
        if self.as_of is not None and not atomic:
            raise InvalidRequest(
                "as_of: expected with is_atomic only: a run in place folds up to the live table's "
                "checkpoint: start a Rebuild"
            )
        unfit = [name for name in _ASIDE_ONLY if getattr(self, name) is not None]
        if unfit and not atomic:
            raise InvalidRequest(
                f"{unfit[0]}: expected with is_atomic only: a run in place changes the live table "
                "row by row, so that there is nothing to approve at its end"
            )


class RollbackRequest(Request):
    """What `Rollback` is started with.

    Attributes:
        projection: The projection's name.
        to_generation: The retained generation to put live, or a snapshot: then a copy of it is,
            and the snapshot stays. When left out, the one replaced last; never a snapshot.
        to_snapshot: Or: a snapshot by its position, of either kind; the one made last, if there are
            several.
        as_version: With a snapshot that is kept as changes: the version that takes it. Another one
            than made it takes what `create` has kept, by its own `restore`. When left out, the
            version that made it if it is registered, else the newest.
        to_version: Or: the generation replaced last among those that this version built.
        allow_stale: Put it live even if its version's handlers are not registered: as it is, at
            its old checkpoint, without the events since.
        requested_by: Who asks, for the record.
        correlation_id: Comes back in the system events that the run records.
    """

    to_generation: Annotated[int, Field(ge=1), _Number] | None = None
    to_version: Annotated[int, Field(ge=0), _Number] | None = None
    to_snapshot: Position | None = None
    as_version: Annotated[int, Field(ge=1), _Number] | None = None
    allow_stale: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> RollbackRequest:
        if self.to_generation is not None and self.to_version is not None:
            raise ValueError("to_version: expected one of to_generation and to_version, got both")
        if self.to_snapshot is not None and (self.to_generation, self.to_version) != (None, None):
            raise ValueError(
                "to_snapshot: expected one of to_generation, to_version and to_snapshot, got two"
            )
        if self.as_version is not None and self.to_snapshot is None:
            raise ValueError("as_version: expected with to_snapshot only")
        return self


class SnapshotRequest(Request):
    """What `Snapshot` is started with.

    Attributes:
        projection: The projection's name.
        requested_by: Who asks, for the record.
    """
