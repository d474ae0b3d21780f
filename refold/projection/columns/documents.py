"""JSON documents."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import JSON
from sqlalchemy.dialects.postgresql import JSONB

from refold.projection.columns import exact_json
from refold.projection.columns.kind import Kind, wrong

# A NUL in JSON: an escape whose backslash is not itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def document(name: str, kind: JSON) -> Kind:
    """JSON; None is SQL's NULL, never JSON's null."""
    base = JSONB(none_as_null=True) if isinstance(kind, JSONB) else JSON(none_as_null=True)

    def settle(value: Any) -> Any:
        if value is None:
            raise wrong(name, "a JSON value: it is NOT NULL", value)
        if value is JSON.NULL:
            raise wrong(name, "a JSON value, or None for NULL", value)
        try:
            encoded = exact_json.dumped(value)
        except TypeError as error:
            raise wrong(name, f"a JSON value ({error})", value) from None
        if b"null" in encoded and _is_endless(value):
            raise wrong(name, "a JSON value without NaN and infinity", value)
        if _NUL.search(encoded):
            raise wrong(name, "a JSON value without NUL", value)
        # For columns of type json, too, so that json and jsonb give the same.
        return _as_jsonb(exact_json.loads(encoded))

    return Kind(
        settle,
        base,
        freeze=exact_json.dumps,
        thaw=lambda frozen: _as_jsonb(exact_json.loads(frozen)),
        mutable=True,
    )


def _is_endless(value: Any) -> bool:
    """Whether it contains NaN or infinity: JSON has neither, and orjson writes null for them."""
    if isinstance(value, float):
        return value - value != 0
    if isinstance(value, dict):
        return any(map(_is_endless, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_is_endless, value))
    if is_dataclass(value):
        return any(_is_endless(getattr(value, field.name)) for field in fields(value))
    return False


def _as_jsonb(value: Any) -> Any:
    """A JSON value as jsonb gives it back: fields in its order, whole numbers written out."""
    if type(value) is dict:
        return {name: _as_jsonb(value[name]) for name in sorted(value, key=_field_order)}
    if type(value) is list:
        return [_as_jsonb(item) for item in value]
    if type(value) is float:
        # Below 1e16 a whole float is written with a fraction, which jsonb keeps.
        written_out = abs(value) >= 1e16 and -(2**63) <= value < 2**64
        return int(Decimal(repr(value))) if written_out else value + 0.0  # no negative zero
    return value


def _field_order(name: str) -> tuple[int, bytes]:
    encoded = name.encode()
    return len(encoded), encoded
