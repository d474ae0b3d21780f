"""Parses an event file line by line: makes an event of a line, or says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson

from refold.errors import InvalidEventFile
from refold.projection.columns.exact_json import dumps, exactly, may_lose
from refold.requests.instants import RFC_3339

MAX_STREAM_ID_BYTES = 2600
"""The unique index on stream and version takes entries of up to 2,704 bytes."""

_FIELDS = dict.fromkeys(("stream_id", "type", "data", "metadata", "recorded_at", "version"))
_MANY_DIGITS = re.compile(rb"[0-9]{19}")
_SHOWN_CHARACTERS = 60


class FileEvent(NamedTuple):
    """An event of a file, checked; not yet compared with what its stream already holds.

    Attributes:
        line: Its line, from 1.
        stream_id: Not empty.
        type: Not empty.
        data: An object, as JSON text.
        metadata: An object, as JSON text.
        recorded_at: Aware, in UTC; None for the time of the import.
        version: At least 1; None for the next in its stream.
    """

    line: int
    stream_id: str
    type: str
    data: str
    metadata: str
    recorded_at: datetime | None
    version: int | None


class _HugeInteger(str):
    """The digits of an integer that orjson would round to a float without a word."""

    __slots__ = ()


def parse_line(line: int, content: bytes) -> FileEvent | None:
    """Reads one line of an event file.

    Args:
        line: Its number, from 1, for the error.
        content: The line, with or without its end.

    Returns:
        The event; None for a blank line.

    Raises:
        InvalidEventFile: It is neither blank nor an event.
    """
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if not content.strip():
            return None
        # orjson sees one line and says "line 1", which is not the file's.
        reason = str(error).partition(": line 1 column")[0]
        raise InvalidEventFile(
            line,
            f"expected a JSON object, got text that is not JSON ({reason}, column {error.colno})",
        ) from None
    if may_lose(content):
        try:
            value = exactly(content)
        except ValueError as error:
            raise InvalidEventFile(line, f"expected a JSON object ({error})") from None
    event = check_event(line, value)
    if b"\\u0000" in content:
        _refuse_nul(line, value)
    if _MANY_DIGITS.search(content):
        _refuse_huge_integers(line, content)
    return event


def check_event(line: int, value: Any) -> FileEvent:
    """Checks one decoded event.

    Args:
        line: Its number, from 1, for the error.
        value: What its JSON decodes to.

    Raises:
        InvalidEventFile: It is not an event.
    """
    if not isinstance(value, dict):
        raise InvalidEventFile(line, f"expected an object, got {_shown(value)}")
    if not value.keys() <= _FIELDS.keys():
        unknown = min(value.keys() - _FIELDS.keys())
        raise _wrong(line, "fields", f"only {', '.join(_FIELDS)}", _shown(unknown))
    stream_id = _text(line, value, "stream_id")
    if len(stream_id) * 4 > MAX_STREAM_ID_BYTES:
        length = len(stream_id.encode())
        if length > MAX_STREAM_ID_BYTES:
            raise _wrong(line, "stream_id", f"at most {MAX_STREAM_ID_BYTES} bytes", str(length))
    recorded_at: datetime | None = None
    if "recorded_at" in value:
        recorded_at = _instant(line, value["recorded_at"])
    version: int | None = None
    if "version" in value:
        version = value["version"]
        if type(version) is not int or version < 1:
            raise _wrong(line, "version", "an integer from 1", _shown(version))
    return FileEvent(
        line,
        stream_id,
        _text(line, value, "type"),
        _object(line, value, "data"),
        _object(line, value, "metadata") if "metadata" in value else "{}",
        recorded_at,
        version,
    )


def _text(line: int, event: dict[str, Any], field: str) -> str:
    text = event.get(field)
    if type(text) is str and text:
        return text
    got = "an empty one" if text == "" else _shown(text)
    raise _wrong(line, field, "a string that is not empty", got if field in event else "none")


def _object(line: int, event: dict[str, Any], field: str) -> str:
    value = event.get(field)
    if type(value) is not dict:
        raise _wrong(line, field, "an object", _shown(value) if field in event else "none")
    try:
        return dumps(value)
    except TypeError as error:  # nested deeper than 254 levels
        raise _wrong(line, field, "an object that can be written as JSON", str(error)) from None


def _instant(line: int, value: Any) -> datetime:
    if type(value) is str and RFC_3339.fullmatch(value):
        try:
            # In UTC at once: at the ends of the calendar a time may exist in its own zone only.
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    expected = "an RFC 3339 time with its zone, such as 2011-02-28T17:04:00Z"
    raise _wrong(line, "recorded_at", expected, _shown(value))


def _refuse_nul(line: int, event: dict[str, Any]) -> None:
    for path, leaf in _leaves(event):
        if isinstance(leaf, str) and "\0" in leaf:
            raise _wrong(
                line, path, "text without NUL (\\u0000), which PostgreSQL refuses", _shown(leaf)
            )


def _refuse_huge_integers(line: int, content: bytes) -> None:
    def integer(digits: str) -> int | _HugeInteger:
        if len(digits) <= 20 and -(2**63) <= int(digits) < 2**64:
            return int(digits)
        return _HugeInteger(digits)

    for path, leaf in _leaves(json.loads(content, parse_int=integer)):
        if isinstance(leaf, _HugeInteger):
            raise _wrong(line, path, "an integer of at most 64 bits (or a string)", leaf[:80])


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All scalars in a JSON value, and its objects' keys, each with its dotted path."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield path or "the event", key
            yield from _leaves(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _leaves(below, f"{path}[{number}]")
    else:
        yield path, value


def _shown(value: Any) -> str:
    try:
        text = orjson.dumps(value).decode()
    except orjson.JSONEncodeError:
        text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _wrong(line: int, field: str, expected: str, got: str) -> InvalidEventFile:
    return InvalidEventFile(line, f"{field}: expected {expected}, got {got}")
