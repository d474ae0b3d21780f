"""What workflows are started with: one JSON object each, decoded with care."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import to_json

from refold.criteria import Criteria, Position, Selecting
from refold.errors import InvalidRequest
from refold.limits import BatchSize, Concurrency, Limits, Pacing
from refold.poison import OnPoison, Poison
from refold.undecodable import Undecodable


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


class BackfillRequest(Poison, Pacing, Selecting, Request):
    """What `Backfill` and `Rebuild` are started with.

    `refold.criteria.Selecting`, `refold.limits.Pacing` and `refold.poison.Poison` have more.

    Attributes:
        projection: The projection's name.
        criteria: What to repair. When left out: of a `Backfill` the projection's own, else
            ``full_rebuild``.
        tenant: Only keys of events of this tenant are repaired; the run shares the workers with
            others tenant by tenant.
        skip_events: With ``dead_letters``: positions of dead letters that are passed over from now
            on, by every fold of this projection.
        is_atomic: Build a new table aside and swap it in; `Rebuild` always does.
        batch_size: Events in one transaction; the projection's own when left out.
        max_concurrency: Partitions at a time; the projection's own when left out.
        approval: ``manual``: the new table waits for the signal `approve` before it goes live;
            ``auto`` (default): it goes live unless it is beyond one of the limits below.
        max_changed_percent: Rows added, removed and changed, in percent of the live rows, up to
            which (inclusive) the new table goes live by itself.
        max_removed_rows: Live rows that the new table lacks, up to which (inclusive) it goes live
            by itself.
        rollback_on_failure: In place: bring back what stood there when the run fails or is
            cancelled. A run that builds aside changes nothing unless it succeeds.
        create_backup: In place: keep what stood there as a generation to roll back to. A run that
            builds aside keeps what it replaces anyway.
        as_of: Aside: fold the events up to this position (inclusive), no further, and go live
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
        """See `refold.poison.Poison`; whoever retries dead letters has them set aside again."""
        retries = self.criteria is Criteria.DEAD_LETTERS and self.on_poison is None
        own = self.model_copy(update={"on_poison": OnPoison.SET_ASIDE}) if retries else self
        return Poison.poison(own, declared)

    def effective(self, declared: Selecting, *, atomic: bool) -> Selecting:
        """What is to be repaired, with what the projection declares.

        Args:
            declared: The projection's own.
            atomic: Of a `Rebuild`: it is full unless it says otherwise.
        """
        said = self if self.criteria is not None else declared
        anew = self.criteria is None and (atomic or self.as_of is not None)
        if said.criteria is None or anew:
            return Selecting(criteria=Criteria.FULL_REBUILD)
        return Selecting(**{name: getattr(said, name) for name in Selecting.model_fields})

    def require_fitting(self, *, aside: bool) -> None:
        """Checks the fields that only have a meaning aside.

        Raises:
            InvalidRequest: One is set for a run that works in place.
        """
        if self.as_of is not None and not aside:
            raise InvalidRequest(
                "as_of: expected with is_atomic only: a run in place folds up to the live table's "
                "checkpoint: start a Rebuild"
            )
        unfit = [name for name in _ASIDE_ONLY if getattr(self, name) is not None]
        if unfit and not aside:
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
        to_version: Or: the generation replaced last among those that this version built.
        allow_stale: Put it live even if its version's handlers are not registered: as it is, at
            its old checkpoint, without the events since.
        requested_by: Who asks, for the record.
        correlation_id: Comes back in the system events that the run records.
    """

    to_generation: Annotated[int, Field(ge=1), _Number] | None = None
    to_version: Annotated[int, Field(ge=0), _Number] | None = None
    allow_stale: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> RollbackRequest:
        if self.to_generation is not None and self.to_version is not None:
            raise ValueError("to_version: expected one of to_generation and to_version, got both")
        return self


class SnapshotRequest(Request):
    """What `Snapshot` is started with.

    Attributes:
        projection: The projection's name.
        requested_by: Who asks, for the record.
    """


R = TypeVar("R", bound=BaseModel)

_EXAMPLE = '{"projection": "order-summary"}'
_MOST_PROBLEMS = 10
_LONGEST_ERROR = 1900


def accept_request(inputs: Sequence[Any], kind: type[R]) -> R:
    """The request among a workflow's arguments, as they came from whatever started it.

    Raises:
        InvalidRequest: There is not exactly one argument, or it is not a request; the message
            names each field with what was expected and what came.
    """
    if len(inputs) != 1:
        got = f"{len(inputs)} arguments" if inputs else "no input"
        raise InvalidRequest(f"input: expected one JSON object such as {_EXAMPLE}, got {got}")
    if isinstance(inputs[0], Undecodable):
        raise InvalidRequest(f"input: expected one JSON object such as {_EXAMPLE}, got {inputs[0]}")
    if (unfit := _not_storable(inputs[0])) is not None:
        raise InvalidRequest(
            f"invalid request: {unfit or 'input'}: expected text without NUL and lone surrogates: "
            "PostgreSQL has none"
        )
    return _strictly(inputs[0], kind)


def _strictly(given: Any, kind: type[R]) -> R:
    """The model, of JSON whose values have the types of its fields: "5", 5.0, true are no 5.

    Raises:
        InvalidRequest: It is not one.
    """
    try:
        # As JSON: there a date is a string, and a choice, too.
        return kind.model_validate_json(to_json(given, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        raise InvalidRequest(_describe(error, kind)) from None
    except ValueError:
        raise InvalidRequest(
            f"input: expected one JSON object such as {_EXAMPLE}, got {type(given).__name__}"
        ) from None


def _not_storable(value: Any, place: str = "") -> str | None:
    """Where there is text that PostgreSQL cannot store; None for nowhere."""
    inner: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        inner = [(f"{place}.{name}".lstrip("."), held) for name, held in value.items()]
        inner += [(place, name) for name in value]
    elif isinstance(value, list):
        inner = [(place, held) for held in value]
    elif isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        return place
    found = (_not_storable(held, within) for within, held in inner)
    return next((one for one in found if one is not None), None)


def _is_unicode(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)


def accept_limits(inputs: Sequence[Any]) -> Limits:
    """The limits among an update's arguments.

    Raises:
        InvalidRequest: There is not exactly one argument, or it is not limits.
    """
    example = '{"batch_size": 500, "events_per_second": 2000}'
    if len(inputs) != 1 or not isinstance(inputs[0], dict):
        got = f"{len(inputs)} arguments" if len(inputs) != 1 else repr(inputs[0])[:100]
        raise InvalidRequest(f"limits: expected one JSON object such as {example}, got {got}")
    return _strictly(inputs[0], Limits)


def in_words(said: Sequence[Any]) -> str:
    """What somebody has said with a signal, as its first argument; empty for nothing."""
    if not said or said[0] is None:
        return ""
    text = said[0] if isinstance(said[0], str) else repr(said[0])
    if isinstance(said[0], Undecodable):
        text = str(said[0])
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"


_LONGEST_REASON = 1000


def _describe(error: ValidationError, kind: type[BaseModel]) -> str:
    accepted = ", ".join(kind.model_fields)
    sentences = []
    for problem in error.errors()[:_MOST_PROBLEMS]:
        field = ".".join(str(part)[:100] for part in problem["loc"])
        if problem["type"] == "missing":
            sentences.append(f"{field}: required, such as {_EXAMPLE}")
        elif problem["type"] == "extra_forbidden":
            sentences.append(f"{field}: not a field of the request; accepted: {accepted}")
        elif problem["type"] == "value_error" and field:
            sentences.append(f"{field}: {problem['ctx']['error']}, got {problem['input']!r:.100}")
        elif problem["type"] == "value_error":
            sentences.append(str(problem["ctx"]["error"]))
        elif not field:
            sentences.append(
                f"input: expected one JSON object such as {_EXAMPLE}, got {problem['input']!r:.100}"
            )
        else:
            sentences.append(f"{field}: {problem['msg']}, got {problem['input']!r:.100}")
    said = "invalid request: " + "; ".join(sentences)
    return said if len(said) <= _LONGEST_ERROR else f"{said[:_LONGEST_ERROR]}…"
