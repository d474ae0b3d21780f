"""Dates, times and intervals."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

from sqlalchemy import Date, DateTime, Interval, Time
from sqlalchemy.dialects import postgresql

from refold.errors import InvalidProjection
from refold.projection.columns.kind import Kind, exactly, wrong

# PostgreSQL's zero: halves are rounded away from it.
_EPOCH = datetime(2000, 1, 1)
_DAY_MICROSECONDS = 24 * 60 * 60 * 10**6


def day(name: str, kind: Date) -> Kind:
    """Dates, from the year 1 to 9999."""
    return Kind(
        exactly(name, date),
        kind,
        freeze=date.isoformat,
        thaw=date.fromisoformat,
    )


def instant(name: str, kind: DateTime) -> Kind:
    """Moments, in UTC if they have a zone, rounded to the column's precision."""
    settle = _instant(name, kind)
    return Kind(
        settle,
        kind,
        freeze=datetime.isoformat,
        thaw=datetime.fromisoformat,
    )


def _instant(name: str, kind: DateTime) -> Callable[[Any], datetime]:
    aware = bool(kind.timezone)
    unit = _unit(kind)

    def settle(value: Any) -> datetime:
        if not isinstance(value, datetime) or (value.utcoffset() is not None) is not aware:
            raise wrong(name, f"datetime {'with' if aware else 'without'} time zone", value)
        if type(value) is not datetime:
            value = datetime.combine(value.date(), value.timetz())
        try:
            if aware:
                value = value.astimezone(UTC)
            elif value.tzinfo is not None:
                value = value.replace(tzinfo=None)
            if value.fold:
                value = value.replace(fold=0)
            return value if unit == 1 else _rounded(value, unit)
        except OverflowError:
            raise wrong(name, "a time from the year 1 to 9999, in UTC", value) from None

    return settle


def _unit(kind: Any) -> int:
    """The microseconds to which a column rounds."""
    precision: int | None = getattr(kind, "precision", None)
    return 1 if precision is None or precision > 6 else 10 ** (6 - precision)


def _rounded(value: datetime, unit: int) -> datetime:
    """The time rounded to `unit` microseconds, halves away from PostgreSQL's zero."""
    epoch = _EPOCH.replace(tzinfo=value.tzinfo)
    passed = (value - epoch) // timedelta(microseconds=1)
    units = (abs(passed) + unit // 2) // unit
    return epoch + timedelta(microseconds=units * unit if passed >= 0 else -units * unit)


def time_of_day(name: str, kind: Time) -> Kind:
    """Times of a day, with an offset of their own if the column has one."""
    aware = bool(kind.timezone)
    unit = _unit(kind)
    expected = f"time {'with' if aware else 'without'} an offset from UTC"

    def settle(value: Any) -> time:
        if not isinstance(value, time) or (value.utcoffset() is not None) is not aware:
            raise wrong(name, expected, value)
        zone = None
        offset = value.utcoffset()
        if offset is not None:
            if offset % timedelta(minutes=1):  # the driver reads no seconds
                raise wrong(name, "an offset of whole minutes", value)
            zone = timezone(offset) if offset else UTC
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        passed = (seconds * 10**6 + value.microsecond + unit // 2) // unit * unit
        if passed >= _DAY_MICROSECONDS:
            raise wrong(name, "a time that is not rounded to 24:00", value)
        return (datetime.min + timedelta(microseconds=passed)).time().replace(tzinfo=zone)

    return Kind(
        settle,
        kind,
        read=settle,
        freeze=time.isoformat,
        thaw=lambda text: settle(time.fromisoformat(text)),
    )


def interval(name: str, kind: Any) -> Kind:
    """Lengths of time in days and smaller units. Months have no length, and no Python type.

    Raises:
        InvalidProjection: The column keeps some fields only.
    """
    if getattr(kind, "fields", None) is not None:
        raise InvalidProjection(
            f"column {name!r}: expected an interval of all fields, got {kind.fields!r}"
        )
    emulated = isinstance(kind, Interval)
    precision = kind.second_precision if emulated else kind.precision
    base = postgresql.INTERVAL(precision=precision)
    unit = _unit(base)

    def settle(value: Any) -> timedelta:
        if not isinstance(value, timedelta):
            raise wrong(name, "timedelta", value)
        within = value.seconds * 10**6 + value.microseconds
        try:
            passed = timedelta(microseconds=(within + unit // 2) // unit * unit)
            return timedelta(days=value.days) + passed
        except OverflowError:
            raise wrong(name, "a timedelta that can be rounded", value) from None

    return Kind(
        settle,
        base,
        freeze=lambda value: f"{value.days} {value.seconds} {value.microseconds}",
        thaw=lambda text: timedelta(*map(int, text.split())),
    )
