"""`KeyDate`: a part of a key that is the day, or the period's first day, of a moment, in UTC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    Column,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    String,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    not_,
)

from refold.errors import InvalidProjection
from refold.errors.words import described
from refold.event import Event
from refold.projection.key import KeyDoesNotFit
from refold.projection.keys.part import KeyPart
from refold.projection.keys.path import check_path, json_at, text_at, value_at

Unit = Literal["day", "week", "month", "year"]

RECORDED_AT = "recorded_at"

# A date of the calendar, from the year 1 to 9999, alone or with a time (RFC 3339, to the second):
# PostgreSQL can cast whatever this takes, which is no error then.
_DATE = (
    r"(?!0000)([0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])"
    r"|[0-9]{4}-(0[13-9]|1[0-2])-(29|30)|[0-9]{4}-(0[13578]|1[02])-31"
    r"|([0-9][0-9](0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)-02-29)"
)
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_ZONE = r"(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])"
_MOMENT = rf"{_DATE}([T ]{_TIME}([.][0-9]{{1,9}})?{_ZONE}?)?"
_READ = re.compile(_MOMENT)
_SECONDS = len("2026-01-31T23:59:59")

_LEAST, _MOST = (literal_column(f"timestamp '{year:04}-01-01'", DateTime) for year in (1, 10000))


def _first_day(unit: Unit, day: date) -> date:
    match unit:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "year":
            return day.replace(month=1, day=1)


@dataclass(frozen=True)
class KeyDate(KeyPart):
    """One part of a key: a period of a moment, as its first day in UTC, for a column of Date.

    Attributes:
        place: ``recorded_at``, or the path of a text: a date, or a moment as of RFC 3339, which
            without an offset is in UTC.
        column: The column.
        unit: The period.
    """

    place: str
    column: Column[Any]
    unit: Unit

    def __post_init__(self) -> None:
        if self.place != RECORDED_AT:
            check_path(self.place)
        if not isinstance(self.column.type, Date):
            raise InvalidProjection(
                f"key column {self.column.name!r}: expected a Date column for {self.path}, got "
                f"{self.column.type!r}"
            )

    @property
    def path(self) -> str:
        """How it is written."""
        return f"{self.unit}({self.place})"

    @property
    def reads(self) -> frozenset[str]:
        """The path into the event."""
        return frozenset((self.place,))

    def of(self, event: Event) -> date | None:
        """The event's key part; see `KeyPart`."""
        value = event.recorded_at if self.place == RECORDED_AT else value_at(self.place, event)
        if value is None:
            return None
        moment = value if self.place == RECORDED_AT else _moment(value)
        try:
            if moment is not None:
                return _first_day(self.unit, moment.astimezone(UTC).date())
        except OverflowError:
            pass  # in UTC it is beyond the calendar
        raise KeyDoesNotFit(
            f"{self.path} of {described(value)}: expected a date, or a moment as of RFC 3339, from "
            f"the year 1 to 9999, for the key column {self.column.name!r}"
        )

    def sql(self, events: FromClause, type_prefix: str = "") -> ColumnElement[Any]:
        """The key part as an expression; see `KeyPart`."""
        moment = self._sql_moment(events)
        first = func.date_trunc(literal_column(f"'{self.unit}'"), moment)
        return case((_in_calendar(moment), cast(first, Date)))

    def misfits(self, events: FromClause, type_prefix: str = "") -> ColumnElement[bool]:
        """True for events whose value is present but does not fit; see `KeyPart`."""
        has_day = self.sql(events).is_not(None)
        if self.place == RECORDED_AT:
            return not_(has_day)  # an event without a time cannot be read
        return and_(text_at(self.place, events).is_not(None), not_(has_day))

    def _sql_moment(self, events: FromClause) -> ColumnElement[Any]:
        """The moment in UTC, without zone; NULL where there is none."""
        if self.place == RECORDED_AT:
            return _in_utc(events.c.recorded_at)
        # With a collation that takes different texts for equal, there would be no expressions.
        text = text_at(self.place, events).collate("C")
        seconds = func.left(text, literal_column(str(_SECONDS)), type_=String)
        zone = func.substring(text, literal(f"{_ZONE}$"), type_=String)
        written = seconds + func.coalesce(zone, literal_column("'Z'"), type_=String)
        reads: ColumnElement[bool] = text.op("~")(f"^{_MOMENT}$")
        if self.place != "stream_id":
            reads = and_(func.jsonb_typeof(json_at(self.place, events)) == "string", reads)
        # A case, as it alone keeps the cast from other texts.
        return _in_utc(case((reads, cast(written, DateTime(timezone=True)))))


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or not _READ.fullmatch(value):
        return None
    seconds, zone = value[:_SECONDS], value[_SECONDS:].lstrip(".0123456789")
    moment = datetime.fromisoformat(seconds + zone)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _in_utc(moment: ColumnElement[Any]) -> ColumnElement[Any]:
    in_utc: ColumnElement[Any] = moment.op("AT TIME ZONE", return_type=DateTime())(
        literal_column("'UTC'")
    )
    return in_utc


def _in_calendar(moment: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(moment >= _LEAST, moment < _MOST)
