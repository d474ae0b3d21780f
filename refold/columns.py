"""What a value becomes when it is stored in a column.

A handler's row goes through here after each event, so that a row carried in memory and a row read
back from PostgreSQL are the same: otherwise rounding, for one, would depend on where batches end.
It also names a wrong value at the event that made it, not at some later COPY.
"""

from __future__ import annotations

import copy
import re
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import (
    CHAR,
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Uuid,
)

Settle = Callable[[Any], Any]

# PostgreSQL rounds half away from zero; the default context stops at 28 digits.
_AS_POSTGRES = Context(prec=1000, rounding=ROUND_HALF_UP)
# What a numeric without a precision holds before and after the point.
_WHOLE_DIGITS, _FRACTION_DIGITS = 131_072, 16_383
# Times are rounded away from this one: it is PostgreSQL's zero.
_EPOCH = datetime(2000, 1, 1)
# A NUL in JSON: an escape whose backslash is not itself escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class WrongValue(ValueError):
    """A value that its column cannot hold."""


def settle_for(column: Column[Any]) -> Settle:
    """The function that turns a handler's value into the stored one.

    Raises (the returned function):
        WrongValue: The column cannot hold the value; the message says what it expects.
    """
    by_type = _settle_type(column)
    if not column.nullable or column.primary_key:
        return by_type
    return lambda value: None if value is None else by_type(value)


def is_mutable(column: Column[Any]) -> bool:
    """Whether a stored value can change in a handler's hands without becoming another object."""
    immutable = (Float, Numeric, Integer, String, DateTime, Boolean, Date, Uuid, LargeBinary)
    return not isinstance(column.type, immutable)


def _settle_type(column: Column[Any]) -> Settle:
    for sql_type, make in _MAKERS:
        if isinstance(column.type, sql_type):
            return make(column, column.type)

    def unknown(value: Any) -> Any:  # arrays, intervals …: PostgreSQL says what it thinks of them
        if value is None:
            raise _wrong(column, "a value: it is NOT NULL", value)
        return copy.deepcopy(value)  # an array is the handler's own

    return unknown


def _wrong(column: Column[Any], expected: str, value: Any) -> WrongValue:
    return WrongValue(
        f"column {column.name!r}: expected {expected}, got {type(value).__name__} {value!r:.80}"
    )


def _exactly(python_type: type) -> Callable[[Column[Any], Any], Settle]:
    def make(column: Column[Any], _: Any) -> Settle:
        def settle(value: Any) -> Any:
            if type(value) is python_type:
                return value
            raise _wrong(column, python_type.__name__, value)

        return settle

    return make


def _uuid(column: Column[Any], _: Uuid[Any]) -> Settle:
    def settle(value: Any) -> Any:
        if type(value) is UUID:
            return value
        if isinstance(value, UUID):  # the driver has its own
            return UUID(int=value.int)
        raise _wrong(column, "UUID", value)

    return settle


def _text(column: Column[Any], kind: String) -> Settle:
    length = kind.length
    padded = (length or 1) if isinstance(kind, CHAR) else 0
    most = padded or length
    expected = "text without NUL and lone surrogates" + (
        "" if most is None else f", at most {most} characters"
    )

    def settle(value: Any) -> Any:
        if type(value) is not str:
            raise _wrong(column, "str", value)
        if most is None and value.isascii() and "\x00" not in value:
            return value
        if (most is not None and len(value) > most) or "\x00" in value or not _encodable(value):
            raise _wrong(column, expected, value)
        return value.ljust(padded)

    return settle


def _encodable(value: str) -> bool:
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _integer(column: Column[Any], kind: Integer) -> Settle:
    bits = 63 if isinstance(kind, BigInteger) else 15 if isinstance(kind, SmallInteger) else 31
    low, high = -(2**bits), 2**bits - 1

    def settle(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise _wrong(column, f"int from {low} to {high}", value)

    return settle


def _numeric(column: Column[Any], kind: Numeric[Any]) -> Settle:
    # numeric(p) is numeric(p, 0) to PostgreSQL; numeric alone keeps every digit.
    scale = 0 if kind.scale is None and kind.precision is not None else kind.scale
    as_stored = None if scale is None else Decimal(1).scaleb(-scale)
    settled = as_stored if scale is not None and scale >= 0 else None
    digits = None if kind.precision is None else kind.precision - (scale or 0)
    most = _WHOLE_DIGITS if digits is None else digits
    expected = "a finite Decimal" if digits is None else f"a Decimal below 1e{digits} in size"
    zero = Decimal(0) if settled is None else Decimal(0).quantize(settled)

    def settle(value: Any) -> Any:
        if type(value) is not Decimal:
            if type(value) not in (int, float):
                raise _wrong(column, expected, value)
            value = Decimal(repr(value))
        elif settled is not None and not value:
            return zero
        elif settled is not None and value.same_quantum(settled) and value.adjusted() < most:
            return value or value.copy_abs()  # PostgreSQL has no negative zero
        if not value.is_finite():
            raise _wrong(column, expected, value)
        if as_stored is not None:
            try:
                value = value.quantize(as_stored, context=_AS_POSTGRES)
            except InvalidOperation:
                raise _wrong(column, expected, value) from None
        if value and value.adjusted() >= most:
            raise _wrong(column, expected, value)
        exponent = value.as_tuple().exponent
        if exponent < -_FRACTION_DIGITS:
            raise _wrong(column, f"at most {_FRACTION_DIGITS} digits after the point", value)
        if exponent > 0:  # 1E+3 is stored as 1000
            value = Decimal(int(value))
        return value or value.copy_abs()

    return settle if kind.asdecimal else lambda value: float(settle(value))


def _float(column: Column[Any], kind: Float[Any]) -> Settle:
    single = isinstance(kind, REAL) or (kind.precision is not None and kind.precision <= 24)
    expected = "a single-precision float" if single else "float"

    def settle(value: Any) -> Any:
        if type(value) not in (float, int):
            raise _wrong(column, "float", value)
        try:
            kept = float(value)
            if single:
                # With "<" it raises what is out of range; without, it makes it infinite.
                kept = struct.unpack("<f", struct.pack("<f", kept))[0]
            return kept + 0.0  # no negative zero: JSON of a row would lose its sign
        except OverflowError:
            raise _wrong(column, expected, value) from None

    return settle


def _instant(column: Column[Any], kind: DateTime) -> Settle:
    aware = kind.timezone
    precision: int | None = getattr(kind, "precision", None)
    unit = 1 if precision is None else 10 ** (6 - precision)

    def settle(value: Any) -> Any:
        if not isinstance(value, datetime) or (value.tzinfo is not None) is not bool(aware):
            raise _wrong(column, f"datetime {'with' if aware else 'without'} time zone", value)
        value = value.astimezone(UTC) if aware else value
        return value if unit == 1 else _rounded(value, unit)

    return settle


def _rounded(value: datetime, unit: int) -> datetime:
    """The time to the next `unit` microseconds, halves away from PostgreSQL's zero."""
    epoch = _EPOCH.replace(tzinfo=value.tzinfo)
    passed = (value - epoch) // timedelta(microseconds=1)
    units = (abs(passed) + unit // 2) // unit
    return epoch + timedelta(microseconds=units * unit if passed >= 0 else -units * unit)


def _json(column: Column[Any], _: JSON) -> Settle:
    def settle(value: Any) -> Any:
        if value is None:
            raise _wrong(column, "a JSON value: it is NOT NULL", value)
        try:
            encoded = orjson.dumps(value)
        except orjson.JSONEncodeError as error:
            raise _wrong(column, f"a JSON value ({error})", value) from None
        if _NUL.search(encoded):
            raise _wrong(column, "a JSON value without NUL", value)
        # Columns of type json, too: a key that is larger than a batch is carried as jsonb.
        return _as_jsonb(orjson.loads(encoded))

    return settle


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


# In this order: Float is a Numeric to SQLAlchemy.
_MAKERS: list[tuple[type, Callable[[Column[Any], Any], Settle]]] = [
    (Float, _float),
    (Numeric, _numeric),
    (Integer, _integer),
    (String, _text),
    (DateTime, _instant),
    (JSON, _json),
    (Boolean, _exactly(bool)),
    (Date, _exactly(date)),
    (Uuid, _uuid),
    (LargeBinary, _exactly(bytes)),
]
