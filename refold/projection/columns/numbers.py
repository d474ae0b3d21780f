"""Whole numbers, decimals and floats."""

from __future__ import annotations

import struct
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from sqlalchemy import REAL, BigInteger, Float, Integer, Numeric, SmallInteger

from refold.errors import InvalidProjection
from refold.projection.columns.kind import Kind, same, wrong

# PostgreSQL rounds half away from zero; the default context stops at 28 digits.
_AS_POSTGRES = Context(prec=1000, rounding=ROUND_HALF_UP)
# What a numeric without a precision holds before and after the point.
_WHOLE_DIGITS, _FRACTION_DIGITS = 131_072, 16_383


def integer(name: str, kind: Integer) -> Kind:
    """Whole numbers of 16, 32 or 64 bits."""
    bits = 63 if isinstance(kind, BigInteger) else 15 if isinstance(kind, SmallInteger) else 31
    return whole(name, kind, -(2**bits), 2**bits - 1)


def whole(name: str, kind: Any, low: int, high: int) -> Kind:
    """Whole numbers within bounds, both inclusive."""

    def settle(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise wrong(name, f"int from {low} to {high}", value)

    return Kind(settle, kind)


def numeric(name: str, kind: Numeric[Any]) -> Kind:
    """Decimals, rounded to the column's scale; floats with ``asdecimal=False``."""
    base: Numeric[Any] = Numeric(kind.precision, kind.scale)
    settle = _decimal(name, kind)
    if kind.asdecimal:
        return Kind(settle, base, read=settle, freeze=str, thaw=Decimal)
    return Kind(
        lambda value: float(settle(value)),
        base,
        read=float,
        # As the float is written, not as it is: 0.1, not 0.1000000000000000055511151231257827.
        bind=lambda value: Decimal(repr(value)),
        freeze=repr,
        thaw=float,
    )


def _decimal(name: str, kind: Numeric[Any]) -> Callable[[Any], Decimal]:
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
                raise wrong(name, expected, value)
            value = Decimal(repr(value))
        elif settled is not None and not value:
            return zero
        elif settled is not None and value.same_quantum(settled) and value.adjusted() < most:
            return value or value.copy_abs()  # PostgreSQL has no negative zero
        if not value.is_finite():
            raise wrong(name, expected, value)
        if as_stored is not None:
            try:
                value = value.quantize(as_stored, context=_AS_POSTGRES)
            except InvalidOperation:
                raise wrong(name, expected, value) from None
        if value and value.adjusted() >= most:
            raise wrong(name, expected, value)
        exponent = value.as_tuple().exponent
        if exponent < -_FRACTION_DIGITS:
            raise wrong(name, f"at most {_FRACTION_DIGITS} digits after the point", value)
        if exponent > 0:  # 1E+3 is stored as 1000
            value = Decimal(f"{value:f}")
        return value or value.copy_abs()

    return settle


def floating(name: str, kind: Float[Any]) -> Kind:
    """Floats of double or single precision.

    Raises:
        InvalidProjection: The column gives Decimals, which would be rounded floats.
    """
    if kind.asdecimal:
        raise InvalidProjection(f"column {name!r}: expected Numeric for Decimals, got {kind!r}")
    single = isinstance(kind, REAL) or (kind.precision is not None and kind.precision <= 24)
    expected = "a single-precision float" if single else "float"

    def settle(value: Any) -> Any:
        if type(value) not in (float, int):
            raise wrong(name, "float", value)
        try:
            kept = float(value)
            if single:
                # With "<" it raises for what is out of range; without, the value becomes infinite.
                kept = struct.unpack("<f", struct.pack("<f", kept))[0]
            return kept + 0.0  # no negative zero: JSON of a row would lose its sign
        except OverflowError:
            raise wrong(name, expected, value) from None

    # Text, as JSON has neither NaN nor infinity.
    return Kind(settle, kind, bind=same, freeze=repr, thaw=float)
