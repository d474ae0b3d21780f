"""Dates and moments travel between Python and PostgreSQL unchanged.

The driver writes Python's first and last date as infinity, and reads infinity as a moment without
a zone. Here 9999-12-31 is written as that day. An infinite value in the database is read as
Python's first or last.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

_DAY_ZERO = date(2000, 1, 1).toordinal()
_ZERO = datetime(2000, 1, 1)
_ZERO_UTC = _ZERO.replace(tzinfo=UTC)
_LAST_DAY, _LAST = 2**31 - 1, 2**63 - 1
_FIRST_DAY, _FIRST = -(2**31), -(2**63)


async def install(driver: asyncpg.Connection[Any]) -> None:
    """Makes a new connection of the driver write and read times in this way."""
    for name, encode, decode in _CODECS:
        await driver.set_type_codec(
            name, encoder=encode, decoder=decode, schema="pg_catalog", format="tuple"
        )


def _encode_date(value: date) -> tuple[int]:
    return (value.toordinal() - _DAY_ZERO,)


def _decode_date(stored: tuple[int]) -> date:
    (days,) = stored
    if days == _LAST_DAY:
        return date.max
    return date.min if days == _FIRST_DAY else date.fromordinal(days + _DAY_ZERO)


def _microseconds(passed: timedelta) -> tuple[int]:
    return ((passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds,)


def _encode_naive(value: datetime) -> tuple[int]:
    return _microseconds(value - _ZERO)


def _encode_aware(value: datetime) -> tuple[int]:
    return _microseconds(value - _ZERO_UTC)


def _decode_naive(stored: tuple[int]) -> datetime:
    (passed,) = stored
    if passed == _LAST:
        return datetime.max
    return datetime.min if passed == _FIRST else _ZERO + timedelta(microseconds=passed)


def _decode_aware(stored: tuple[int]) -> datetime:
    return _decode_naive(stored).replace(tzinfo=UTC)


_CODECS = (
    ("date", _encode_date, _decode_date),
    ("timestamp", _encode_naive, _decode_naive),
    ("timestamptz", _encode_aware, _decode_aware),
)
