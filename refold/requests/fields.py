"""The fields of requests as keyword arguments: typed as people write them.

A date may be text, and a choice its name. `refold.requests.validation` makes requests of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal, TypedDict

from refold.requests.criteria import Criteria
from refold.requests.limits import Throttle
from refold.requests.poison_policy import OnPoison
from refold.requests.runs import Approval

CriteriaName = Literal[
    "full_rebuild",
    "incremental_update",
    "date_range",
    "from_date",
    "last_n_days",
    "event_number_range",
    "from_event_number",
    "last_n_events",
    "custom_predicate",
    "dead_letters",
]

Moment = datetime | date | str
"""An aware datetime, RFC 3339, or a date, which is midnight UTC."""


class RequestFields(TypedDict, total=False):
    """What each request may say beside its projection."""

    requested_by: str | None
    correlation_id: str | None


class LimitFields(TypedDict, total=False):
    """The fields of `refold.requests.limits.Limits`."""

    batch_size: int | None
    max_concurrency: int | None
    events_per_second: float | None


class BackfillFields(RequestFields, LimitFields, total=False):
    """The fields of a `refold.requests.BackfillRequest`, but its projection."""

    criteria: Criteria | CriteriaName | None
    from_date: Moment | None
    to_date: Moment | None
    from_position: int | None
    to_position: int | None
    last_n: int | None
    predicate: str | None
    predicate_name: str | None
    missing: bool | None
    tenant: str | None
    skip_events: Sequence[int] | None
    is_atomic: bool | None
    approval: Approval | Literal["auto", "manual"] | None
    max_changed_percent: float | None
    max_removed_rows: int | None
    rollback_on_failure: bool | None
    create_backup: bool | None
    as_of: int | None
    dry_run: bool | None
    throttle: Throttle | Mapping[str, Any] | None
    target_batch_seconds: float | None
    min_batch_size: int | None
    max_batch_size: int | None
    on_poison: OnPoison | Literal["fail", "set_aside"] | None
    max_dead_letters: int | None


class RollbackFields(RequestFields, total=False):
    """The fields of a `refold.requests.RollbackRequest`, but its projection and `to_version`."""

    to_generation: int | None
    allow_stale: bool
