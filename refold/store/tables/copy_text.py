"""Rows as the text that COPY takes, where all columns are texts, numbers and truth values.

For these the text is made column by column, in a third of the time that the driver needs for its
binary form, value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Boolean, Enum, Float, Integer, Numeric, String
from sqlalchemy.types import TypeEngine

from refold.projection.columns.kind import Kind, same
from refold.projection.declaration import Row

_AT_ONCE = 250
_NULL = "\\N"
# All that means something to COPY, of what a text may hold.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

_Column = Callable[[list[Any]], list[str]]
"""A column's values as COPY's text."""


class CopyText:
    """Makes COPY's text of the rows of one table; see `copy_text_of`."""

    def __init__(self, columns: Mapping[str, _Column]) -> None:
        self._columns = columns

    def pieces(self, rows: Sequence[Row]) -> Iterator[bytes]:
        """Yields the rows as text, some at a time."""
        for start in range(0, len(rows), _AT_ONCE):
            some = rows[start : start + _AT_ONCE]
            columns = [made([row[name] for row in some]) for name, made in self._columns.items()]
            lines = map("\t".join, zip(*columns, strict=True))
            yield "".join([f"{line}\n" for line in lines]).encode()


def copy_text_of(kinds: Mapping[str, Kind]) -> CopyText | None:
    """What makes COPY's text of rows with columns of these kinds; None where some need more."""
    made: dict[str, _Column] = {}
    for name, kind in kinds.items():
        column = _column(kind.base) if kind.bind is same and not kind.takes_none else None
        if column is None:
            return None
        made[name] = column
    return CopyText(made)


def _column(base: TypeEngine[Any]) -> _Column | None:
    if isinstance(base, String) and not isinstance(base, Enum):
        return _texts
    if isinstance(base, Integer) or (isinstance(base, Numeric) and not isinstance(base, Float)):
        return _numbers
    return _truths if isinstance(base, Boolean) else None


def _texts(values: list[Any]) -> list[str]:
    if None in values:
        return [_NULL if value is None else value.translate(_ESCAPES) for value in values]
    together = "\v".join(values)
    if any(map(together.__contains__, "\\\t\n\r")):
        return [value.translate(_ESCAPES) for value in values]
    return values


def _numbers(values: list[Any]) -> list[str]:
    if None in values:
        return [_NULL if value is None else str(value) for value in values]
    return list(map(str, values))


def _truths(values: list[Any]) -> list[str]:
    return list(map({None: _NULL, True: "t", False: "f"}.__getitem__, values))
