"""Moments as people and files write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import PlainValidator, SerializerFunctionWrapHandler, WrapSerializer

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
"""Date, time and time zone; there need not be such a date."""

_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class PlainDate(datetime):
    """A date that was given without a time: midnight UTC; it is written as the date that it was."""


def _instant(value: Any) -> datetime:
    given = value
    try:
        if isinstance(value, str) and RFC_3339.fullmatch(value):
            given = datetime.fromisoformat(value.upper())
        elif isinstance(value, str) and _PLAIN_DATE.fullmatch(value):
            given = date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"expected a date that there is ({error})") from None
    if isinstance(given, PlainDate):
        return given
    if isinstance(given, date) and not isinstance(given, datetime):
        return PlainDate(given.year, given.month, given.day, tzinfo=UTC)
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise ValueError(
            "expected RFC 3339: date, time and time zone, such as 2026-03-01T00:00:00Z or "
            "2026-03-01T00:00:00+01:00, or a date alone, which is midnight UTC"
        )
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise ValueError("expected a date between the years 1 and 9999 in UTC") from None


def _written(value: Any, write: SerializerFunctionWrapHandler) -> Any:
    return f"{value:%Y-%m-%d}" if isinstance(value, PlainDate) else write(value)


Instant = Annotated[
    datetime, PlainValidator(_instant), WrapSerializer(_written, when_used="json-unless-none")
]
"""A moment, kept in UTC: RFC 3339 with a time zone, or an aware datetime; a date alone is midnight
UTC."""
