"""Criteria: what a backfill selects to repair, and the fields that say so."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from refold.requests.instants import Instant


class Criteria(StrEnum):
    """What a backfill selects to repair."""

    FULL_REBUILD = "full_rebuild"
    INCREMENTAL_UPDATE = "incremental_update"
    DATE_RANGE = "date_range"
    FROM_DATE = "from_date"
    LAST_N_DAYS = "last_n_days"
    EVENT_NUMBER_RANGE = "event_number_range"
    FROM_EVENT_NUMBER = "from_event_number"
    LAST_N_EVENTS = "last_n_events"
    CUSTOM_PREDICATE = "custom_predicate"
    DEAD_LETTERS = "dead_letters"

    @property
    def selects(self) -> bool:
        """Whether it selects events, whose keys are then refolded, rather than all or none."""
        return self not in (Criteria.FULL_REBUILD, Criteria.INCREMENTAL_UPDATE)


Position = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Count = Annotated[int, Field(strict=True, ge=1, lt=2**63)]

_NEEDED: dict[Criteria, tuple[str, ...]] = {
    Criteria.FULL_REBUILD: (),
    Criteria.INCREMENTAL_UPDATE: (),
    Criteria.DATE_RANGE: (),
    Criteria.FROM_DATE: ("from_date",),
    Criteria.LAST_N_DAYS: ("last_n",),
    Criteria.EVENT_NUMBER_RANGE: (),
    Criteria.FROM_EVENT_NUMBER: ("from_position",),
    Criteria.LAST_N_EVENTS: ("last_n",),
    Criteria.CUSTOM_PREDICATE: (),
    Criteria.DEAD_LETTERS: (),
}
_DATES, _POSITIONS = ("from_date", "to_date"), ("from_position", "to_position")
# What they may be given beside that: of a range one end will do.
_ALSO: dict[Criteria, tuple[str, ...]] = {
    Criteria.DATE_RANGE: _DATES,
    Criteria.EVENT_NUMBER_RANGE: _POSITIONS,
    Criteria.CUSTOM_PREDICATE: (*_DATES, *_POSITIONS),
    Criteria.FULL_REBUILD: _DATES,
}
_RANGES = {Criteria.DATE_RANGE: _DATES, Criteria.EVENT_NUMBER_RANGE: _POSITIONS}
_BOUNDS = (*_DATES, *_POSITIONS, "last_n")
_PREDICATES = ("predicate", "predicate_name")
# What the fields alone say, when no criteria are named.
_SAID: dict[frozenset[str], Criteria] = {
    frozenset({"from_date", "to_date"}): Criteria.DATE_RANGE,
    frozenset({"to_date"}): Criteria.DATE_RANGE,
    frozenset({"from_date"}): Criteria.FROM_DATE,
    frozenset({"from_position", "to_position"}): Criteria.EVENT_NUMBER_RANGE,
    frozenset({"to_position"}): Criteria.EVENT_NUMBER_RANGE,
    frozenset({"from_position"}): Criteria.FROM_EVENT_NUMBER,
}


class CriteriaFields(BaseModel):
    """The fields that say what to repair; they must agree with one another.

    Attributes:
        criteria: What to repair; when it is left out, it follows from the fields below.
        from_date: With `date_range` and `from_date`: events recorded at this moment or later; of
            a `date_range` without it, from the beginning. A date alone is midnight UTC. With
            `full_rebuild` dates select nothing further, which the plan's note says.
        to_date: With `date_range`: events recorded before this moment (exclusive); without it, to
            the end.
        from_position: Of `event_number_range` and `from_event_number`: positions from this one
            (inclusive); of a range without it, from the beginning.
        to_position: Of `event_number_range`: positions up to this one (inclusive); without it, to
            the end.
        last_n: Of `last_n_days`: days before now. Of `last_n_events`: events at the end of the
            log, of any type. Both are fixed once, when the run plans.
        predicate: Of `custom_predicate`: a CEL expression over ``event``; it narrows the others.
        predicate_name: The name of a predicate that is registered in Python, instead of
            `predicate`.
        missing: Of `incremental_update`: keys that have events but no row are refolded, too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    criteria: Criteria | None = None
    from_date: Instant | None = None
    to_date: Instant | None = None
    from_position: Position | None = None
    to_position: Position | None = None
    last_n: Count | None = None
    predicate: str | None = None
    predicate_name: str | None = None
    missing: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _infer(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("criteria") is not None:
            return given
        said = {name for name in _BOUNDS if given.get(name) is not None}
        criteria = _SAID.get(frozenset(said))
        if (
            criteria is None
            and not said
            and any(given.get(name) is not None for name in _PREDICATES)
        ):
            criteria = Criteria.CUSTOM_PREDICATE
        if criteria is None and not said and given.get("missing") is True:
            criteria = Criteria.INCREMENTAL_UPDATE
        return given if criteria is None else {**given, "criteria": criteria.value}

    @model_validator(mode="after")
    def _fields_agree(self) -> CriteriaFields:
        given = [name for name in _BOUNDS if getattr(self, name) is not None]
        if self.criteria is None:
            if given:
                raise ValueError(f"{given[0]}: expected with {_takers(given[0])}, got no criteria")
            return self
        needed = _NEEDED[self.criteria]
        for name in needed:
            if getattr(self, name) is None:
                raise ValueError(f"{name}: required by criteria {self.criteria}")
        for name in given:
            if name not in (*needed, *_ALSO.get(self.criteria, ())):
                raise ValueError(
                    f"{name}: expected with {_takers(name)}, got criteria {self.criteria}"
                )
        ends = _RANGES.get(self.criteria)
        if ends is not None and not given:
            raise ValueError(f"{ends[0]}: {' or '.join(ends)} is required by {self.criteria}")
        if {*given} & {*_DATES} and {*given} & {*_POSITIONS}:
            raise ValueError(f"{given[-1]}: expected dates or positions, got both")
        self._predicate_agrees(self.criteria)
        if self.missing and self.criteria is not Criteria.INCREMENTAL_UPDATE:
            raise ValueError(
                f"missing: expected with criteria incremental_update, got {self.criteria}"
            )
        if self.from_date and self.to_date and self.to_date <= self.from_date:
            raise ValueError(
                f"to_date: expected after from_date ({self.from_date.isoformat()}), got "
                f"{self.to_date.isoformat()}"
            )
        if None not in (self.from_position, self.to_position):
            assert self.from_position is not None
            assert self.to_position is not None
            if self.to_position < self.from_position:
                raise ValueError(
                    f"to_position: expected from_position ({self.from_position}) or more, got "
                    f"{self.to_position}"
                )
        return self

    def _predicate_agrees(self, criteria: Criteria) -> None:
        given = [name for name in _PREDICATES if getattr(self, name) is not None]
        if len(given) == 2:
            raise ValueError("predicate_name: expected predicate or predicate_name, got both")
        if criteria is Criteria.CUSTOM_PREDICATE and not given:
            raise ValueError(
                "predicate: required by criteria custom_predicate, such as "
                'event.type.startsWith("Order")'
            )
        if given and not criteria.selects:
            raise ValueError(
                f"{given[0]}: expected with criteria that select events, got {criteria}"
            )


def _takers(name: str) -> str:
    takers = [
        criteria.value
        for criteria, needed in _NEEDED.items()
        # Of the others none selects by it.
        if name in needed or name in _RANGES.get(criteria, ())
    ]
    return f"criteria {' or '.join(takers)}"
