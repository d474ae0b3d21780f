"""What a key may be made of a text: `Lower` and `Split`, alike in Python and in SQL."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol
from unicodedata import ucd_3_2_0

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    String,
    Text,
    case,
    func,
    literal,
    literal_column,
)

from refold.errors import InvalidProjection

_MOST_PARTS = 1000


class TextStep(Protocol):
    """Makes a text of a text, or nothing."""

    def written(self, of: str) -> str:
        """How it is written, with what it is made of."""

    def of(self, text: str) -> str | None:
        """The text that it makes; None for none."""

    def sql(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """The same as an expression; NULL for none, and for NULL."""


@dataclass(frozen=True)
class Lower:
    """Each capital becomes its small letter, one for one, whatever the database's locale is."""

    def written(self, of: str) -> str:
        """How it is written."""
        return f"lower({of})"

    def of(self, text: str) -> str:
        """The text in small letters."""
        if text.isascii():
            return text.lower()
        capitals, small = _letters()
        return text.translate(str.maketrans(capitals, small)).translate(_ASCII)

    def sql(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """The text in small letters."""
        # With this collation it knows A to Z; with others, it follows the locale.
        exact = text.collate("C")
        ascii_only = func.lower(exact, type_=Text)
        capitals, small = _letters()
        all_letters = func.translate(ascii_only, literal(capitals, Text), literal(small, Text))
        # It looks through all capitals for each character, so that few texts are to come to it.
        return case((exact.op("~")(f"[{capitals}]"), all_letters), else_=ascii_only)


_ASCII = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@cache
def _letters() -> tuple[str, str]:
    """The capitals beyond ASCII, and the small letter of each.

    Letters of Unicode 3.2: their small letters are the same to every version of Python that there
    is. A capital whose small letter takes several code points stays as it is.
    """
    letters = map(chr, range(0x80, 0x11000))
    pairs = [
        (letter, letter.lower())
        for letter in letters
        if letter.lower() != letter
        and len(letter.lower()) == 1
        and ucd_3_2_0.category(letter) != "Cn"
    ]
    return "".join(pair[0] for pair in pairs), "".join(pair[1] for pair in pairs)


@dataclass(frozen=True)
class Split:
    """One of the parts between separators; nothing if there are not so many, or no text at all.

    Attributes:
        separator: At least one character.
        index: Which part, from 0; from the end with -1, the last one.
    """

    separator: str
    index: int

    def __post_init__(self) -> None:
        separator, index = self.separator, self.index
        if not isinstance(separator, str) or not separator or not _is_storable(separator):
            raise InvalidProjection(
                "split(): separator: expected a text of at least one character, without NUL, got "
                f"{separator!r}"
            )
        if type(index) is not int or not -_MOST_PARTS <= index < _MOST_PARTS:
            raise InvalidProjection(
                "split(): index: expected a whole number, 0 for the first part or -1 for the last "
                f"(-{_MOST_PARTS} to {_MOST_PARTS - 1}), got {index!r}"
            )

    def written(self, of: str) -> str:
        """How it is written."""
        return f"split({of}, {self.separator!r}, {self.index})"

    def of(self, text: str) -> str | None:
        """The part."""
        parts = text.split(self.separator) if text else []
        return parts[self.index] if -len(parts) <= self.index < len(parts) else None

    def sql(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        """The part."""
        # Bytes are compared, as a collation may take different texts for equal.
        parts: Any = func.string_to_array(
            text.collate("C"), literal(self.separator, String), type_=ARRAY(Text)
        )
        index: ColumnElement[int] = literal_column(str(self.index + 1), Integer)
        if self.index < 0:
            index = func.cardinality(parts, type_=Integer) + index
        part: ColumnElement[Any] = parts[index]
        return part


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text)
