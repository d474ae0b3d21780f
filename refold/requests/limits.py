"""How fast a run may go, and what it holds back for: limits, throttle, batches that adapt."""

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


# An event in a quarter of an hour: whoever wants less wants it to pause.
_SLOWEST = 0.001

Rate = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), AfterValidator(_rate)]
"""Events a second, from 0.001 to 1e9; 0 for no limit."""

_Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class Limits(BaseModel):
    """What the update `set_limits` takes; what is left out stays as it is.

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
    """What of the database makes a run hold back, until it is over; all are looked at.

    Attributes:
        max_replication_lag_seconds: The replica that is furthest behind, in seconds of replay lag.
        max_active_sessions: Sessions at work, those of Refold not counted.
        max_wal_bytes_per_second: What the server writes ahead, by all that it does.
        hold_while: An SQL expression; the run holds while it is true. It is evaluated in a
            read-only transaction, for at most a second.
        check_seconds: How often these are looked at; from 0.1 to 60.
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
        throttle: What of the database makes it hold back; None for nothing.
        target_batch_seconds: Batches grow and shrink until one takes about so long; None leaves
            them at `batch_size`, where they begin otherwise, too.
        min_batch_size: Batches that adapt do not become smaller.
        max_batch_size: Batches that adapt do not become larger.
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
        """These settings, and for what they leave out the declared ones."""
        own = {name: getattr(self, name) for name in Pacing.model_fields}
        return Pacing(
            **{n: getattr(declared, n) if value is None else value for n, value in own.items()}
        )
