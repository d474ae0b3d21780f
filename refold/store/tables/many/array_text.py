"""Columns of texts, numbers and truth values as the text of a PostgreSQL array.

The driver's own arrays look at each value twice, by Python's slowest check of a type: they need
five times as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Boolean, Enum, Float, Integer, Numeric, String, Text
from sqlalchemy.types import TypeEngine

from refold.projection.columns.kind import Kind, same

_NULL = "NULL"
# All that means something between quotes.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})

Column = Callable[[list[Any]], str]
"""A column's values, at least one, as the text of an array."""


def array_text_of(kind: Kind) -> tuple[Column, TypeEngine[Any]] | None:
    """What makes the text of such values, and the array's type; None where it takes more.

    The type bounds neither lengths nor numbers: the column does, and refuses what does not fit.
    """
    base = kind.base
    if kind.bind is not same or kind.takes_none:
        return None
    if isinstance(base, String) and not isinstance(base, Enum):
        return _texts, Text()
    if isinstance(base, Integer):
        return _numbers, BigInteger()
    if isinstance(base, Numeric) and not isinstance(base, Float):
        return _numbers, Numeric()
    return (_truths, Boolean()) if isinstance(base, Boolean) else None


def _texts(values: list[Any]) -> str:
    if None in values:
        quoted = [_NULL if value is None else f'"{value.translate(_ESCAPES)}"' for value in values]
        return f"{{{','.join(quoted)}}}"
    together = "".join(values)
    if '"' in together or "\\" in together:
        values = [value.translate(_ESCAPES) for value in values]
    inner = '","'.join(values)
    return f'{{"{inner}"}}'


def _numbers(values: list[Any]) -> str:
    if None in values:
        return f"{{{','.join([_NULL if value is None else str(value) for value in values])}}}"
    return f"{{{','.join(map(str, values))}}}"


def _truths(values: list[Any]) -> str:
    return f"{{{','.join(map({None: _NULL, True: 't', False: 'f'}.__getitem__, values))}}}"
