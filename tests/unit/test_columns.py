"""What a value becomes when it is stored, and which values no column takes."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    ARRAY,
    CHAR,
    JSON,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Float,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

from refold.projection.columns import WrongValue, is_mutable, settle_for


def settled(kind: Any, value: Any, *, nullable: bool = True) -> Any:
    return settle_for(Column("c", kind, nullable=nullable))(value)


class Level(IntEnum):
    LOW = 1


# -- what is stored ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Numeric(14, 2), Decimal("0.125"), "0.13"),
        (Numeric(14, 2), Decimal("0.135"), "0.14"),
        (Numeric(14, 2), Decimal("-0.125"), "-0.13"),
        (Numeric(14, 2), Decimal("7"), "7.00"),
        (Numeric(14, 2), 7, "7.00"),
        (Numeric(14, 2), 0.1, "0.10"),
        (Numeric(14, 2), Decimal("-0.00"), "0.00"),
        (Numeric(14, 2), Decimal("-0.004"), "0.00"),
        (Numeric(3), Decimal("2.5"), "3"),
        (Numeric(2, 2), Decimal("0.994"), "0.99"),
        (Numeric(2, 4), Decimal("0.00994"), "0.0099"),
        (Numeric(40, 20), Decimal("12345678901234567890.123456789012345678905"), None),
        (Numeric(), Decimal("1.2300"), "1.2300"),
        (Numeric(), Decimal("1E+3"), "1000"),
        (Numeric(), Decimal("0E+3"), "0"),
    ],
)
def test_a_number_is_rounded_to_its_scale_half_away_from_zero(
    kind: Any, value: Any, stored: str | None
) -> None:
    expected = "12345678901234567890.12345678901234567891" if stored is None else stored
    assert str(settled(kind, value)) == expected


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Numeric(4, 2), Decimal("100")),
        (Numeric(4, 2), Decimal("99.995")),  # fits until it is rounded
        (Numeric(4, 2), Decimal("100.00")),
        (Numeric(2, 2), 1),
        (Numeric(2, 4), Decimal("0.01")),
        (Numeric(14, 2), Decimal("NaN")),
        (Numeric(14, 2), math.inf),
        (Numeric(), math.nan),
        (Numeric(14, 2), True),
        (Numeric(14, 2), "1.00"),
        (Numeric(14, 2), Decimal("1E+5000")),
        (Numeric(), Decimal("1E+131072")),
    ],
)
def test_a_number_beyond_its_precision_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(WrongValue, match=r"column 'c': expected a .*Decimal"):
        settled(kind, value)


@pytest.mark.parametrize(("kind", "bits"), [(SmallInteger, 15), (Integer, 31), (BigInteger, 63)])
def test_an_integer_column_takes_its_whole_range_and_no_more(kind: Any, bits: int) -> None:
    assert settled(kind(), 2**bits - 1) == 2**bits - 1
    assert settled(kind(), -(2**bits)) == -(2**bits)
    for beyond in (2**bits, -(2**bits) - 1):
        with pytest.raises(WrongValue, match=f"expected int from {-(2**bits)} to {2**bits - 1}"):
            settled(kind(), beyond)


@pytest.mark.parametrize("value", [True, 1.0, "1", Decimal(1), Level.LOW])
def test_only_an_int_is_an_int(value: Any) -> None:
    with pytest.raises(WrongValue, match=f"got {type(value).__name__}"):
        settled(Integer(), value)


@pytest.mark.parametrize("kind", [REAL(), Float(24), Float(1)])
def test_a_single_precision_float_loses_what_its_column_loses(kind: Any) -> None:
    assert settled(kind, 0.1) == 0.10000000149011612
    assert settled(kind, settled(kind, 0.1)) == settled(kind, 0.1)
    assert settled(kind, -math.inf) == -math.inf
    with pytest.raises(WrongValue, match="single-precision"):
        settled(kind, 1e39)  # not infinity


@pytest.mark.parametrize(("kind", "value"), [(REAL(), -1e-300), (REAL(), -0.0), (Float(), -0.0)])
def test_no_float_is_a_negative_zero(kind: Any, value: float) -> None:
    assert math.copysign(1, settled(kind, value)) == 1


@pytest.mark.parametrize("kind", [Float(), Float(53), Double()])
def test_a_double_precision_float_is_kept(kind: Any) -> None:
    assert settled(kind, 0.1) == 0.1
    assert isinstance(settled(kind, 3), float)
    assert math.isnan(settled(kind, math.nan))


@pytest.mark.parametrize("kind", [REAL(), Float()])
@pytest.mark.parametrize("value", [True, "0.1", Decimal("0.1"), 10**400])
def test_what_is_no_float_is_refused(kind: Any, value: Any) -> None:
    with pytest.raises(WrongValue, match=r"column 'c': expected a? ?(single-precision )?float"):
        settled(kind, value)


def test_text_is_taken_up_to_its_length_in_characters() -> None:
    assert settled(String(3), "äöü") == "äöü"
    assert settled(Text(), "x" * 100_000) == "x" * 100_000
    with pytest.raises(WrongValue, match="at most 3 characters"):
        settled(String(3), "abcd")


def test_fixed_length_text_is_padded_as_it_is_stored() -> None:
    assert settled(CHAR(4), "ab") == "ab  "


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", 1, b"text", None])
def test_what_is_no_storable_text_is_refused(value: Any) -> None:
    with pytest.raises(WrongValue, match=f"got {type(value).__name__}"):
        settled(Text(), value, nullable=False)


def test_an_instant_is_stored_in_utc() -> None:
    tokyo = timezone(timedelta(hours=9))
    stored = settled(DateTime(timezone=True), datetime(2024, 1, 1, 9, tzinfo=tokyo))
    assert stored.isoformat() == "2024-01-01T00:00:00+00:00"


def test_an_instant_needs_a_time_zone_and_a_local_time_has_none() -> None:
    naive, aware = datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)
    assert settled(DateTime(), naive) == naive
    with pytest.raises(WrongValue, match="expected datetime with time zone"):
        settled(DateTime(timezone=True), naive)
    with pytest.raises(WrongValue, match="expected datetime without time zone"):
        settled(DateTime(), aware)
    with pytest.raises(WrongValue, match="got date"):
        settled(DateTime(), date(2024, 1, 1))


@pytest.mark.parametrize(
    ("precision", "value", "stored"),
    [
        (0, "2024-01-01T00:00:00.5", "2024-01-01T00:00:01"),
        (3, "2024-01-01T00:00:00.123499", "2024-01-01T00:00:00.123000"),
        (0, "1999-12-31T23:59:58.5", "1999-12-31T23:59:58"),  # away from PostgreSQL's year 2000
        (6, "2024-01-01T00:00:00.123456", "2024-01-01T00:00:00.123456"),
    ],
)
def test_a_time_is_rounded_to_its_precision(precision: int, value: str, stored: str) -> None:
    kind = TIMESTAMP(precision=precision)
    assert settled(kind, datetime.fromisoformat(value)) == datetime.fromisoformat(stored)


@pytest.mark.parametrize(
    ("kind", "right", "wrong"),
    [
        (Boolean(), True, 1),
        (Date(), date(2024, 1, 1), datetime(2024, 1, 1)),
        (Uuid(), UUID(int=1), str(UUID(int=1))),
        (LargeBinary(), b"\x00\xff", "text"),
    ],
)
def test_other_types_take_exactly_their_own(kind: Any, right: Any, wrong: Any) -> None:
    assert settled(kind, right) == right
    with pytest.raises(WrongValue, match=f"expected {type(right).__name__}"):
        settled(kind, wrong)


def test_the_drivers_own_uuid_becomes_pythons() -> None:
    from asyncpg.pgproto.pgproto import UUID as DriversUUID  # noqa: N811

    stored = settled(Uuid(), DriversUUID(str(UUID(int=7))))
    assert (stored, type(stored)) == (UUID(int=7), UUID)


# -- JSON -------------------------------------------------------------------------------------


def test_json_becomes_what_json_can_say() -> None:
    assert settled(JSONB(), {"a": (1, 2.5), "b": None}) == {"a": [1, 2.5], "b": None}


def test_json_is_stored_as_a_copy() -> None:
    value: dict[str, list[int]] = {"a": []}
    stored = settled(JSONB(), value)
    value["a"].append(1)
    assert stored == {"a": []}


def test_json_fields_come_in_the_order_in_which_they_are_stored() -> None:
    stored = settled(JSONB(), {"bb": 1, "c": [{"é": 1, "z": 2, "y": 3}], "a": 2})
    assert list(stored) == ["a", "c", "bb"]
    assert list(stored["c"][0]) == ["y", "z", "é"]  # by length in bytes, then by bytes


def test_a_large_whole_number_in_json_is_an_int_as_it_is_when_read_back() -> None:
    stored = settled(JSONB(), {"n": 1e17, "f": 1.0, "e": 1e-9})
    assert [type(stored[name]) for name in ("n", "f", "e")] == [int, float, float]


@pytest.mark.parametrize(
    "value", [Decimal("NaN"), {1: 2}, {"a": object()}, "\ud800", {"a\0": 1}, JSON.NULL]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(WrongValue, match="expected a JSON value"):
        settled(JSONB(), value)


def test_an_escaped_backslash_is_no_nul() -> None:
    assert settled(JSONB(), "\\u0000") == "\\u0000"


# -- NULL, and everything twice ----------------------------------------------------------------

ALL_TYPES: list[Any] = [
    *[Text(), String(3), Integer(), SmallInteger(), BigInteger(), Numeric(14, 2), Numeric()],
    *[Float(), REAL(), DateTime(), DateTime(timezone=True), Date(), Boolean(), Uuid()],
    *[LargeBinary(), JSON(), JSONB(), ARRAY(Integer)],
]


@pytest.mark.parametrize("kind", ALL_TYPES, ids=repr)
def test_none_is_taken_only_where_null_is(kind: Any) -> None:
    assert settled(kind, None) is None
    with pytest.raises(WrongValue, match="got NoneType"):
        settled(kind, None, nullable=False)


@pytest.mark.parametrize("kind", ALL_TYPES, ids=repr)
def test_a_value_that_can_change_in_place_is_mutable(kind: Any) -> None:
    assert is_mutable(Column("c", kind)) is isinstance(kind, (JSON, ARRAY))


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=5, min_value=-9999, max_value=9999)
)
def test_settling_twice_is_settling_once(value: Decimal) -> None:
    once = settled(Numeric(8, 3), value)
    assert str(settled(Numeric(8, 3), once)) == str(once)
    assert abs(once - value) <= Decimal("0.0005")


def test_an_array_is_stored_as_a_copy() -> None:
    value = [1]
    stored = settled(ARRAY(Integer), value)
    value.append(2)
    assert stored == [1]
