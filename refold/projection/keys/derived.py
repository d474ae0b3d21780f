"""Keys that are derived: `day`, `week`, `month`, `year`, `lower` and `split`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column

from refold.errors import InvalidProjection
from refold.projection.keys.dates import RECORDED_AT, KeyDate, Unit
from refold.projection.keys.part import KeyPart
from refold.projection.keys.path import KeyPath, check_path
from refold.projection.keys.texts import Lower, Split, TextStep


@dataclass(frozen=True)
class DerivedText:
    """What `lower` and `split` give: a part of a key that is made of a text.

    Attributes:
        path: Where the text is in the event.
        steps: What is made of it, one after the other.
    """

    path: str
    steps: tuple[TextStep, ...]

    def part(self, column: Column[Any]) -> KeyPart:
        """The part of a key that fills a column."""
        return KeyPath(self.path, column, self.steps)


@dataclass(frozen=True)
class DerivedDate:
    """What `day`, `week`, `month` and `year` give: a part of a key that is a date.

    Attributes:
        path: Where the moment is in the event.
        unit: The period.
    """

    path: str
    unit: Unit

    def part(self, column: Column[Any]) -> KeyPart:
        """The part of a key that fills a column."""
        return KeyDate(self.path, column, self.unit)


def lower(text: str | DerivedText) -> DerivedText:
    """A key whose capitals become small letters: ``Ann@Shop.EU`` and ``ann@shop.eu`` are one.

    It is alike in every database, whatever its locale: each letter for itself, as Unicode 3.2 has
    it. A capital without a small letter of its own stays as it is.

    Args:
        text: A path (``stream_id``, ``data.<field>``, ``metadata.<field>``), or what `lower` or
            `split` gives.

    Raises:
        InvalidProjection: It is neither.
    """
    return _derived("lower()", text, Lower())


def split(text: str | DerivedText, separator: str, index: int) -> DerivedText:
    """A key that is one of the parts of a text: of ``EU-tea-250``, the part 1 at ``-`` is ``tea``.

    An event whose text has not so many parts is skipped, as one without the text is.

    Args:
        text: A path (``stream_id``, ``data.<field>``, ``metadata.<field>``), or what `lower` or
            `split` gives.
        separator: What is between the parts; at least one character.
        index: Which part, from 0; -1 is the last one. From -1,000 to 999.

    Raises:
        InvalidProjection: One of these is something else.
    """
    return _derived("split()", text, Split(separator, index))


def day(moment: str) -> DerivedDate:
    """A key that is the day of a moment, in UTC; its column is a Date.

    Args:
        moment: ``recorded_at``, or a path to a text that is a date (``2026-01-31``) or a moment as
            of RFC 3339, which without an offset is in UTC. Anything else there is poison.

    Raises:
        InvalidProjection: It is neither.
    """
    return _dated("day", moment)


def week(moment: str) -> DerivedDate:
    """A key that is the Monday of a moment's week, in UTC; see `day`."""
    return _dated("week", moment)


def month(moment: str) -> DerivedDate:
    """A key that is the first day of a moment's month, in UTC; see `day`."""
    return _dated("month", moment)


def year(moment: str) -> DerivedDate:
    """A key that is the first day of a moment's year, in UTC; see `day`."""
    return _dated("year", moment)


def _derived(name: str, text: Any, step: TextStep) -> DerivedText:
    if isinstance(text, DerivedText):
        return DerivedText(text.path, (*text.steps, step))
    try:
        return DerivedText(check_path(text), (step,))
    except InvalidProjection as wrong:
        raise InvalidProjection(f"{name}: {wrong}, or what lower() or split() gives") from None


def _dated(unit: Unit, moment: Any) -> DerivedDate:
    try:
        return DerivedDate(moment if moment == RECORDED_AT else check_path(moment), unit)
    except InvalidProjection as wrong:
        raise InvalidProjection(f"{unit}(): {wrong}, or 'recorded_at'") from None
