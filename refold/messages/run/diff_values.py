"""Values of rows made small and fit for JSON, so that a diff can show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel

from refold.errors.words import printable

# Of one value, in bytes of UTF-8; longer ones are cut.
_LONGEST = 100
# What is still shown of what two cut values have in common, in characters.
_BEFORE = 20
# Columns of one row; the others are counted.
_COLUMNS = 10
# Names of columns in one list; the others are counted.
_NAMES = 30
# What JSON's readers in JavaScript keep exactly.
_WHOLE = 2**53

_MORE = "…"

M = TypeVar("M", bound=BaseModel)


def plain(value: Any) -> Any:
    """A value of a row as JSON has it, or as text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, int) and abs(value) < _WHOLE:
        return value
    return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, (dict, list, tuple)):
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return str(value)


def shortened(value: Any, start: int = 0) -> Any:
    """A value, or if it is long text the part of it from `start` (in characters) on."""
    if not isinstance(value, str):
        return value
    rest = value[start:]
    cut = rest.encode(errors="replace")[:_LONGEST].decode(errors="ignore")
    return (_MORE if start else "") + cut + (_MORE if len(cut) < len(rest) else "")


def shortened_apart(one: Any, other: Any) -> tuple[Any, Any]:
    """Two values that differ, each cut to where they do."""
    start = 0
    if isinstance(one, str) and isinstance(other, str):
        longest = max(len(one.encode(errors="replace")), len(other.encode(errors="replace")))
        if longest > _LONGEST:
            start = max(0, _in_common(one, other) - _BEFORE)
    return shortened(one, start), shortened(other, start)


def _in_common(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning."""
    # By halves: one character after another takes seconds where texts have millions.
    same, end = 0, min(len(one), len(other))
    while same < end:
        middle = (same + end + 1) // 2
        if one[same:middle] == other[same:middle]:
            same = middle
        else:
            end = middle - 1
    return same


def short_row(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A row's first columns, with short values."""
    if row is None:
        return None
    return _some({column: shortened(row[column]) for column in _first(row)}, len(row))


def short_rows(
    one: Mapping[str, Any], other: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two rows of the same columns, all of which differ: the first ones, cut to where they do."""
    pairs = {column: shortened_apart(one[column], other[column]) for column in _first(one)}
    return (
        _some({column: pair[0] for column, pair in pairs.items()}, len(one)),
        _some({column: pair[1] for column, pair in pairs.items()}, len(one)),
    )


def _first(row: Mapping[str, Any]) -> list[str]:
    """The columns that are shown: what is large is not even looked at in the others."""
    return list(row)[:_COLUMNS]


def _some(row: dict[str, Any], columns: int) -> dict[str, Any]:
    if columns > _COLUMNS:
        row[_MORE] = f"and {columns - _COLUMNS} more columns"
    return row


def some_names(names: list[str]) -> list[str]:
    """The first names of a list, and how many there are beyond."""
    if len(names) <= _NAMES:
        return names
    return [*names[:_NAMES], f"{_MORE} and {len(names) - _NAMES} more"]


def within(models: Iterable[M], size: int) -> list[M]:
    """As many of these, from the first on, as make up that many bytes of JSON."""
    kept: list[M] = []
    for model in models:
        size -= len(model.model_dump_json().encode())
        if size < 0:
            break
        kept.append(model)
    return kept


def text_of(value: Any) -> str:
    """A value in one line; what a terminal or a page would act upon is escaped."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    return printable(str(value))
