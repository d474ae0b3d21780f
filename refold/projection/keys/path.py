"""`KeyPath`: a part of a key that is the value at a path into the event, or made of its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CHAR,
    BigInteger,
    Column,
    ColumnElement,
    Enum,
    FromClause,
    Integer,
    Numeric,
    SmallInteger,
    String,
    Text,
    Uuid,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    not_,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from refold.errors import InvalidProjection
from refold.errors.words import described
from refold.event import Event
from refold.projection.key import Key, KeyDoesNotFit
from refold.projection.keys.part import KeyPart
from refold.projection.keys.texts import TextStep

_INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
_INTEGER_SQL = "^-?[0-9]{1,19}$"
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_UUID_SQL = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
# What PostgreSQL takes for an array's index; one of more digits is beyond any array.
_INDEX = re.compile(r"[ \t-\r]*[+-]?0*[0-9]{1,9}")
# JSON's whole numbers beyond these are decoded as floats, which are no keys.
_LEAST_WHOLE, _MOST_WHOLE = -(2**63), 2**64 - 1
_WHOLE_SQL = literal(_LEAST_WHOLE, Numeric), literal(_MOST_WHOLE, Numeric)
_PATH = re.compile(r"stream_id|(data|metadata)(\.[^.]+)+")


def check_path(path: Any) -> str:
    """A path into an event whose value can be text.

    Raises:
        InvalidProjection: It is none.
    """
    if not isinstance(path, str) or not _PATH.fullmatch(path):
        raise InvalidProjection(
            f"key {path!r}: expected 'stream_id', 'data.<field>' or 'metadata.<field>'"
        )
    return path


def value_at(path: str, event: Event) -> Any:
    """The value at a path; None when it is missing or null."""
    if path == "stream_id":
        return event.stream_id
    root, *steps = path.split(".")
    value: Any = getattr(event, root)
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and _INDEX.fullmatch(step):
            index = int(step)
            value = value[index] if -len(value) <= index < len(value) else None
        else:
            return None
    return value


def json_at(path: str, events: FromClause) -> ColumnElement[Any]:
    """The JSON at a path into data or metadata."""
    root, *steps = path.split(".")
    column = events.c[root]
    return column[steps[0]] if len(steps) == 1 else column[tuple(steps)]


def text_at(path: str, events: FromClause) -> ColumnElement[Any]:
    """The value at a path as PostgreSQL writes it as text; NULL when it is missing or null."""
    if path == "stream_id":
        column = events.c.stream_id
        return column if isinstance(column.type, String) else cast(column, Text)
    json: Any = json_at(path, events)
    assert isinstance(json.type, JSONB)
    text: ColumnElement[Any] = json.astext
    return text


@dataclass(frozen=True)
class KeyPath(KeyPart):
    """One part of a key: a path into the event and the primary-key column it fills.

    Attributes:
        place: The path.
        column: The column.
        steps: What is made of the value's text, one after the other.
    """

    place: str
    column: Column[Any]
    steps: tuple[TextStep, ...] = ()

    def __post_init__(self) -> None:
        check_path(self.place)
        kind = self.column.type
        if isinstance(kind, Uuid) and not (kind.as_uuid and kind.native_uuid):
            raise InvalidProjection(
                f"key column {self.column.name!r}: expected Uuid() for the path {self.path!r}, got "
                f"{kind!r}: only that is a UUID to both Python and PostgreSQL"
            )
        # CHAR comes back padded, and an Enum has an order of its own: SQL and Python would differ.
        if not isinstance(kind, (String, Integer, Uuid)) or isinstance(kind, (CHAR, Enum)):
            raise InvalidProjection(
                f"key column {self.column.name!r}: expected a Text, String, Integer or Uuid column "
                f"for the path {self.path!r}, got {self.column.type!r}; use a key function instead"
            )

    @property
    def path(self) -> str:
        """How it is written."""
        written = self.place
        for step in self.steps:
            written = step.written(written)
        return written

    @property
    def reads(self) -> frozenset[str]:
        """The path into the event."""
        return frozenset((self.place,))

    @property
    def is_stream(self) -> bool:
        """Whether it is an event's stream, as it is: any text fits."""
        kind = self.column.type
        plain = self.place == "stream_id" and not self.steps
        return plain and isinstance(kind, String) and kind.length is None

    # -- in Python ---------------------------------------------------------------------------

    def of(self, event: Event) -> Key | None:
        """The event's key part; see `KeyPart`."""
        value = value_at(self.place, event)
        if value is None:
            return None
        text = _scalar_text(value)
        if text is not None:
            for step in self.steps:
                text = step.of(text)
                if text is None:
                    return None
        return self._cast(value, text)

    def _cast(self, value: Any, text: str | None) -> Key:
        kind = self.column.type
        if text is not None:
            if isinstance(kind, Uuid) and _UUID.fullmatch(text):
                return UUID(text)
            if isinstance(kind, Integer) and _INTEGER.fullmatch(text):
                low, high = _bounds(kind)
                if low <= int(text) <= high:
                    return int(text)
            if isinstance(kind, String) and (kind.length is None or len(text) <= kind.length):
                return text
        raise KeyDoesNotFit(
            f"{self.path} = {described(value if not self.steps or text is None else text)} "
            f"does not fit the key column {self.column.name!r} ({kind!r})"
        )

    # -- in SQL ------------------------------------------------------------------------------

    def sql(self, events: FromClause, type_prefix: str = "") -> ColumnElement[Any]:
        """The key part as an expression; see `KeyPart`."""
        text, kind = self._made_of(text_at(self.place, events)), self.column.type
        if self._is_typed_alike(events):
            return events.c.stream_id
        if isinstance(kind, Uuid):
            return case((text.op("~")(_UUID_SQL), cast(text, Uuid)))
        if isinstance(kind, Integer):
            low, high = _bounds(kind)
            wide = cast(text, Numeric)
            in_range = case((wide.between(low, high), cast(text, BigInteger)))
            return case((text.op("~")(_INTEGER_SQL), in_range))
        collation = getattr(kind, "collation", None)
        if self.steps:  # these have their own
            collation = collation or "default"
        return text if collation is None else text.collate(collation)

    def misfits(self, events: FromClause, type_prefix: str = "") -> ColumnElement[bool]:
        """True for events whose value is present but does not fit; see `KeyPart`."""
        raw = text_at(self.place, events)
        text, kind = self._made_of(raw), self.column.type
        fits: ColumnElement[bool] = true()
        if isinstance(kind, (Uuid, Integer)):
            fits = self.sql(events).is_not(None)
        elif isinstance(kind, String) and kind.length is not None:
            fits = func.char_length(text) <= kind.length
        if self.steps:  # what these do not find is missing
            fits = text.is_(None) | fits
        if self.place != "stream_id":
            fits = and_(fits, _is_scalar(json_at(self.place, events), raw))
        return and_(raw.is_not(None), not_(fits))

    def _is_typed_alike(self, events: FromClause) -> bool:
        """Whether the stream's own column is a value of the key's type, as it is."""
        column = events.c.stream_id
        return self.path == "stream_id" and (
            (isinstance(self.column.type, Uuid) and isinstance(column.type, Uuid))
            or (isinstance(self.column.type, BigInteger) and isinstance(column.type, Integer))
        )

    def _made_of(self, text: ColumnElement[Any]) -> ColumnElement[Any]:
        for step in self.steps:
            text = step.sql(text)
        return text


def _is_scalar(json: ColumnElement[Any], text: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether JSON, of which this is the text, is a string, a boolean or a whole number."""
    json_type = func.jsonb_typeof(json)
    scalar = json_type.in_(["string", "boolean"])
    in_range = cast(text, Numeric).between(*_WHOLE_SQL)
    # A case, as it alone keeps the cast from text that is no number.
    whole = case(
        (and_(json_type == "number", text.op("~")("^-?[0-9]{1,20}$")), in_range),
        else_=false(),
    )
    return scalar | whole


def _scalar_text(value: Any) -> str | None:
    """What PostgreSQL's ``->>`` gives for a string, a boolean or a whole number."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    whole = isinstance(value, int) and _LEAST_WHOLE <= value <= _MOST_WHOLE
    return str(value) if whole else None


def _bounds(kind: Integer) -> tuple[int, int]:
    bits = 63 if isinstance(kind, BigInteger) else 15 if isinstance(kind, SmallInteger) else 31
    return -(2**bits), 2**bits - 1
