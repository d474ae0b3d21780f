"""About how many bytes of memory the values of rows take, where that may be much."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import ARRAY, JSON, Column, Enum, LargeBinary, String, TypeDecorator

# A text of no more characters is never much.
_SHORT = 1000

_PLAIN = (str, bytes)


def sizing(columns: Iterable[Column[Any]]) -> Callable[[dict[str, Any]], int] | None:
    """What tells how many bytes the large values of a row take; None where there can be none.

    Args:
        columns: Of the table, those that are written.
    """
    plain, nested = [], []
    for column in columns:
        kind = column.type
        if isinstance(kind, (LargeBinary, String)) and not isinstance(kind, Enum):
            if kind.length is None or kind.length > _SHORT:
                plain.append(str(column.name))
        elif isinstance(kind, (JSON, ARRAY, TypeDecorator)):
            nested.append(str(column.name))
    if not plain and not nested:
        return None

    def size(row: dict[str, Any]) -> int:
        total = 0
        for name in plain:
            value = row[name]
            # A handler may give anything: PostgreSQL says what it makes of a number for a text.
            if value is not None:
                total += len(value) if isinstance(value, _PLAIN) else size_of(value)
        for name in nested:
            total += size_of(row[name])
        return total

    return size


def size_of(value: Any) -> int:
    """About how many bytes a value takes."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    if isinstance(value, dict):
        return sum(size_of(name) + size_of(inner) for name, inner in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return sum(map(size_of, value))
    return 8
