"""JSON in a column: how SQL asks for its fields, how it travels, and how Python reads it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    LargeBinary,
    String,
    Text,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
)
from sqlalchemy.dialects.postgresql import JSONB

from refold.errors import ConfigurationError
from refold.projection.columns import exact_json

Decode = Callable[[Any], Mapping[str, Any]]
"""Makes an event's data of what its column holds: bytes, text, or what its JSON is."""

EMPTY: ColumnElement[Any] = literal_column("'{}'::jsonb", JSONB)


@dataclass(frozen=True)
class Body:
    """A column of JSON.

    Attributes:
        asked: As jsonb, for paths in SQL; NULL where it is missing or cannot be read.
        sent: What is read of it.
        read: Makes what it holds of what came as JSON; None when that is it.
        broken: True in SQL for what cannot be read; None when that cannot be.
        is_open: Whether SQL can see into it.
    """

    asked: ColumnElement[Any]
    sent: ColumnElement[Any]
    read: Callable[[Any], Any] | None = None
    broken: ColumnElement[bool] | None = None
    is_open: bool = True


def body_of(column: ColumnElement[Any], decode: Decode | None, place: str) -> Body:
    """How a column of JSON is read.

    Args:
        column: Of type jsonb, json, text or bytea.
        decode: What makes the event's data of it; None for JSON.
        place: What to call it in errors.

    Raises:
        ConfigurationError: It is of another type.
    """
    kind = column.type
    if decode is not None:
        return Body(cast(null(), JSONB), column, _decoding(column, decode), is_open=False)
    if isinstance(kind, JSONB):
        return Body(column, column)
    if isinstance(kind, JSON):
        return _guarded(cast(column, Text), column, None)
    if isinstance(kind, String):
        return _guarded(column, column, exact_json.loads)
    if isinstance(kind, LargeBinary):
        text = func.convert_from(column, literal_column("'UTF8'"), type_=Text)
        return _guarded(text, column, lambda sent: exact_json.loads(b64decode(sent)))
    raise ConfigurationError(
        f"EventSource: {place}: expected a column of jsonb, json, text or bytea, got {kind!r}: "
        "name its type in the Table, or cast it"
    )


def _guarded(
    text: ColumnElement[Any], sent: ColumnElement[Any], read: Callable[[Any], Any] | None
) -> Body:
    # One payload that is no JSON would fail a statement over all events.
    valid = func.pg_input_is_valid(text, literal_column("'jsonb'"))
    broken = case((text.is_(None), false()), else_=~valid)
    return Body(case((valid, cast(text, JSONB))), sent, read, broken)


def _decoding(column: ColumnElement[Any], decode: Decode) -> Callable[[Any], Any]:
    if isinstance(column.type, LargeBinary):
        return lambda sent: dict(decode(b64decode(sent)))
    return lambda sent: dict(decode(sent))


def travelling(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A column as a value of JSON: bytes in base 64."""
    if isinstance(column.type, LargeBinary):
        return func.encode(column, literal_column("'base64'"), type_=Text)
    return column


def bytes_of(column: ColumnElement[Any]) -> ColumnElement[int]:
    """How many bytes a column has as text; NULL for NULL."""
    if isinstance(column.type, (LargeBinary, String)):
        return func.octet_length(column)
    return func.octet_length(cast(column, Text))


@dataclass(frozen=True)
class Metadata:
    """What is known about events: a column of JSON, single columns, or both.

    Attributes:
        asked: As jsonb, for paths in SQL.
        sent: What is read of the column of JSON, or of the single columns if there is none.
        more: The single columns as jsonb, beside a column of JSON.
        read: See `Body`.
        broken: See `Body`.
    """

    asked: ColumnElement[Any]
    sent: ColumnElement[Any]
    more: ColumnElement[Any] | None = None
    read: Callable[[Any], Any] | None = None
    broken: ColumnElement[bool] | None = None


def metadata_of(
    given: ColumnElement[Any] | Mapping[str, ColumnElement[Any]] | None,
) -> Metadata:
    """What is known about events, of what an `EventSource` is given.

    Raises:
        ConfigurationError: A column of JSON has another type.
    """
    if given is None:
        return Metadata(EMPTY, EMPTY)
    columns = dict(given) if isinstance(given, Mapping) else {"*": given}
    whole = columns.pop("*", None)
    pairs = [part for name, column in columns.items() for part in (_name(name), column)]
    single: ColumnElement[Any] = func.jsonb_strip_nulls(
        func.jsonb_build_object(*pairs, type_=JSONB), type_=JSONB
    )
    if whole is None:
        return Metadata(single, single)
    body = body_of(whole, None, "metadata")
    if not columns:
        return Metadata(body.asked, body.sent, None, body.read, body.broken)
    both = func.coalesce(body.asked, EMPTY, type_=JSONB).op("||", return_type=JSONB())(single)
    return Metadata(both, body.sent, single, body.read, body.broken)


def _name(name: str) -> ColumnElement[str]:
    quoted = name.replace("'", "''").replace("%", "%%")
    return literal_column(f"'{quoted}'", Text)
