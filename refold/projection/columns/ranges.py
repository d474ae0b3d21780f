"""Ranges, in the form that PostgreSQL gives them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, Date, DateTime, Integer, Numeric
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import Range
from sqlalchemy.dialects.postgresql.ranges import AbstractSingleRange

from refold.errors import InvalidProjection
from refold.projection.columns.kind import Kind, wrong
from refold.projection.columns.numbers import integer, numeric
from refold.projection.columns.times import day, instant

_BOUNDS: dict[type, tuple[Callable[[str, Any], Kind], Any]] = {
    postgresql.INT4RANGE: (integer, Integer()),
    postgresql.INT8RANGE: (integer, BigInteger()),
    postgresql.NUMRANGE: (numeric, Numeric()),
    postgresql.DATERANGE: (day, Date()),
    postgresql.TSRANGE: (instant, DateTime()),
    postgresql.TSTZRANGE: (instant, DateTime(timezone=True)),
}


def single_range(name: str, kind: AbstractSingleRange[Any]) -> Kind:
    """Ranges of numbers, dates and times; those of whole numbers and dates are ``[a, b)``."""
    found = next((_BOUNDS[known] for known in _BOUNDS if isinstance(kind, known)), None)
    if found is None:
        raise InvalidProjection(f"column {name!r}: expected a range of PostgreSQL's, got {kind!r}")
    bound = found[0](name, found[1])
    discrete = isinstance(found[1], (Integer, Date))

    def settle(value: Any) -> Range[Any]:
        if not isinstance(value, Range):
            raise wrong(name, "sqlalchemy.dialects.postgresql.Range", value)
        if value.empty:
            return Range(empty=True)
        lower, upper = (
            None if end is None else bound.settle(end) for end in (value.lower, value.upper)
        )
        starts = "(" if lower is None else value.bounds[0]
        ends = ")" if upper is None else value.bounds[1]
        if lower is not None and upper is not None and lower > upper:
            raise wrong(name, "a range whose lower bound is not above its upper one", value)
        if _is_empty(lower, upper, starts + ends):
            return Range(empty=True)
        if discrete:
            try:
                if starts == "(" and lower is not None:
                    lower, starts = bound.settle(_next(lower)), "["
                if ends == "]":
                    upper, ends = bound.settle(_next(upper)), ")"
            except (OverflowError, ValueError):
                raise wrong(name, "a range within its type, as [a, b)", value) from None
        if _is_empty(lower, upper, starts + ends):
            return Range(empty=True)
        return Range(lower, upper, bounds=starts + ends)  # type: ignore[arg-type]

    def bind(value: Range[Any]) -> Range[Any]:
        ends = [None if end is None else bound.bind(end) for end in (value.lower, value.upper)]
        return Range(*ends, bounds=value.bounds, empty=value.empty)

    def freeze(value: Range[Any]) -> str:
        ends = [None if end is None else bound.freeze(end) for end in (value.lower, value.upper)]
        return orjson.dumps([*ends, value.bounds, value.empty]).decode()

    def thaw(frozen: str) -> Range[Any]:
        *ends, bounds, empty = orjson.loads(frozen)
        lower, upper = (None if end is None else bound.thaw(end) for end in ends)
        return Range(lower, upper, bounds=bounds, empty=empty)

    return Kind(settle, kind, bind=bind, read=settle, freeze=freeze, thaw=thaw)


def _is_empty(lower: Any, upper: Any, bounds: str) -> bool:
    return lower is not None and bool(lower == upper) and bounds != "[]"


def _next(value: Any) -> Any:
    return value + (timedelta(days=1) if isinstance(value, date) else 1)
