"""How fast a run may go: its limits, its throttle, and batches that adapt their size."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

BatchSize = Annotated[int, Field(strict=True, ge=1, le=100_000)]
"""Events in one database transaction, from 1 to 100,000."""

Concurrency = Annotated[int, Field(strict=True, ge=1, le=64)]
"""Partitions worked on at the same time, from 1 to 64."""


def _rate(value: float) -> float:
    if 0 < value < _SLOWEST:
        raise ValueError(f"expected 0, for no limit, or {_SLOWEST} or more")
    return value


# One event in about a quarter of an hour: a run that is to be slower should be paused.
_SLOWEST = 0.001

Rate = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), AfterValidator(_rate)]
"""Events a second, from 0.001 to 1e9; 0 for no limit."""

_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Limits(BaseModel):
    """What the update `set_limits` takes; a limit that is left out stays as it is.

    Attributes:
        batch_size: Events in one transaction.
        max_concurrency: Partitions at a time.
        events_per_second: Over all partitions; 0 for no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: BatchSize | None = None
    max_concurrency: Concurrency | None = None
    events_per_second: Rate | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Limits:
        if self.batch_size is self.max_concurrency is self.events_per_second is None:
            raise ValueError(
                "limits: expected one or more of batch_size, max_concurrency, events_per_second"
            )
        return self


class Throttle(BaseModel):
    """The load of the database at which a run holds back; one threshold is enough.

    Attributes:
        max_replication_lag_seconds: How far a replica may be behind, in seconds of replay lag.
        max_active_sessions: How many sessions may be at work; Refold's own are not counted.
        max_wal_bytes_per_second: How much write-ahead log the whole server may write.
        hold_while: An SQL expression; the run holds while it is true. It is evaluated in a
            read-only transaction, for at most a second.
        check_seconds: The time between two looks at the load, in seconds; from 0.1 to 60.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_replication_lag_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    max_active_sessions: Annotated[int, Field(ge=0)] | None = None
    max_wal_bytes_per_second: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    hold_while: Annotated[str, Field(min_length=1, max_length=2000)] | None = None
    check_seconds: Annotated[float, Field(ge=0.1, le=60, allow_inf_nan=False)] = 1.0


class Pacing(BaseModel):
    """The settings of a run's pace; a request's override the projection's own.

    Attributes:
        events_per_second: Over all partitions of a run; 0 for no limit, which is the default.
        throttle: The load of the database at which it holds back; None for no such limit.
        target_batch_seconds: How long a batch should take, in seconds: batches begin with
            `batch_size` events and then grow or shrink. None leaves them at `batch_size`.
        min_batch_size: The fewest events of a batch that adapts.
        max_batch_size: The most events of a batch that adapts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    events_per_second: Rate | None = None
    throttle: Throttle | None = None
    target_batch_seconds: _Seconds | None = None
    min_batch_size: BatchSize | None = None
    max_batch_size: BatchSize | None = None

    @model_validator(mode="after")
    def _bounds_agree(self) -> Pacing:
        low, high = self.min_batch_size, self.max_batch_size
        if low is not None and high is not None and high < low:
            raise ValueError(f"max_batch_size: expected min_batch_size ({low}) or more, got {high}")
        return self

    def pacing(self, declared: Pacing) -> Pacing:
        """These settings; the declared ones take the place of those that are left out."""
        own = {name: getattr(self, name) for name in Pacing.model_fields}
        return Pacing(
            **{n: getattr(declared, n) if value is None else value for n, value in own.items()}
        )
