"""JSON that keeps its numbers: what neither a float nor 64 bits can hold stays exact.

orjson makes a float of each number with a point, and of whole numbers beyond 64 bits. Where that
would lose digits, the number becomes a Decimal, or an int if it is whole.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import orjson

# A number of 15 digits or less is always the same as a float.
_RUN = b"0" * 16
_DIGITS_ALIKE = bytes(48 if chr(byte) in "0123456789." else 32 for byte in range(256))
_NUMBER = re.compile(rb"[0-9.]+(?:[eE][+-]?[0-9]+)?")
# What may stand before a number: after anything else, digits are text.
_BEFORE = b" \t\r\n:,[-"
_BEYOND = re.compile(rb"[eE]\+?[0-9]{3}")
# Python refuses to make an int of more digits.
_MOST_DIGITS = 4300
# A float that was written with more digits than it needs is still that float.
_MOST_FLOAT_DIGITS = 17


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """The value of a JSON text, with every digit of its numbers.

    Raises:
        ValueError: It is not JSON, or nested too deep.
    """
    encoded = text.encode() if isinstance(text, str) else bytes(text)
    return exactly(encoded) if may_lose(encoded) else _quickly(encoded)


def _quickly(encoded: bytes) -> Any:
    try:
        return orjson.loads(encoded)
    except orjson.JSONDecodeError:
        if _BEYOND.search(encoded):
            return exactly(encoded)  # perhaps beyond the largest float
        raise


def may_lose(encoded: bytes) -> bool:
    """Whether a float would lose digits of a number in this JSON, or of text like a number."""
    alike = encoded.translate(_DIGITS_ALIKE)
    at = alike.find(_RUN)
    while at >= 0:
        found = _NUMBER.match(encoded, at)
        assert found is not None
        is_number = at == 0 or encoded[at - 1] in _BEFORE
        if is_number and not _survives(found.group().decode()):
            return True
        at = alike.find(_RUN, found.end())
    return False


def exactly(encoded: bytes) -> Any:
    """`loads`, for JSON of which `may_lose` is true; several times slower.

    Raises:
        ValueError: It is not JSON, or nested too deep.
    """
    try:
        return json.loads(
            encoded.decode(), parse_float=_number, parse_int=_whole, parse_constant=_constant
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def _survives(digits: str) -> bool:
    """Whether these digits and points, if they are a number, are what a float or an int keeps."""
    if digits.count(".") > 1:
        return True  # no number
    if digits.isdigit():
        return len(digits) < 19 or (len(digits) < 21 and int(digits) <= 2**63)
    try:
        return type(_number(digits)) is float
    except ValueError:
        return True


def _number(text: str) -> Any:
    number = float(text)
    exact = Decimal(text)
    if number - number == 0:  # finite
        if exact == Decimal(repr(number)):
            return number
        count = len(exact.as_tuple().digits)
        if count <= _MOST_FLOAT_DIGITS and exact == Decimal(f"{number:.{count - 1}e}"):
            return number
    return exact


def _whole(text: str) -> Any:
    if len(text) < 19:
        return int(text)
    if len(text) > _MOST_DIGITS:
        return Decimal(text)
    number = int(text)
    if -(2**63) <= number < 2**64:
        return number
    # What a float keeps becomes a float, as elsewhere: 1e20 is written with its zeros.
    try:
        near = float(number)
    except OverflowError:
        return number
    return near if Decimal(repr(near)) == number else number


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def dumps(value: Any) -> str:
    """A value as JSON, with Decimals and whole numbers of any size as numbers.

    Raises:
        TypeError: JSON cannot say it.
    """
    return dumped(value).decode()


def dumped(value: Any) -> bytes:
    """`dumps`, as bytes."""
    try:
        return orjson.dumps(value, default=_fragment)
    except orjson.JSONEncodeError:
        return orjson.dumps(_without_large(value), default=_fragment)


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(f"{value:f}")
    raise TypeError(f"Type is not JSON serializable: {type(value).__name__}")


def _without_large(value: Any) -> Any:
    """The value with Decimals for whole numbers beyond 64 bits, which orjson refuses."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        return Decimal(value)
    if isinstance(value, dict):
        return {name: _without_large(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_large(inner) for inner in value]
    return value
