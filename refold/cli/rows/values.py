"""Values of rows as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from refold.projection.columns.exact_json import dumps

_SHOWN_CHARACTERS = 200


def text_of(value: Any) -> str:
    """A value in one short piece: texts in quotes, JSON as JSON."""
    if isinstance(value, (datetime, date, time, UUID, Decimal)):
        text = str(value)
    elif isinstance(value, (bytes, bytearray)):
        text = f"\\x{value.hex()}"
    else:
        text = _as_json(value, option=orjson.OPT_NON_STR_KEYS)
    if len(text) > _SHOWN_CHARACTERS:
        return f"{text[: _SHOWN_CHARACTERS - 1]}…"
    return text


def cell(value: Any) -> str:
    """A value in a table: a text as it is."""
    return value if isinstance(value, str) else text_of(value)


def values_of(fields: Mapping[str, Any]) -> str:
    """Names with their values, in one line."""
    return ", ".join(f"{name} {text_of(value)}" for name, value in fields.items())


def indented(value: Any) -> str:
    """A value as JSON on several lines, with every digit of its numbers."""
    return _as_json(value, option=orjson.OPT_INDENT_2)


def _as_json(value: Any, option: int) -> str:
    try:
        return orjson.dumps(value, option=option).decode()
    except TypeError:
        pass
    try:
        return dumps(value)
    except TypeError:
        return str(value)
