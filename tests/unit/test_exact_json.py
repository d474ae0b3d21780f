"""Numbers in JSON: what a float or 64 bits cannot hold stays exact."""

from __future__ import annotations

import json
import struct
import sys
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.projection.columns import exact_json

EXACT = Decimal("0.12345678901234567891")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("0.30000000000000004", 0.30000000000000004),
        ("0.10000000000000001", 0.1),  # as PHP and .NET write a double
        ("0.12345678901234567891", EXACT),
        ("-0.12345678901234567891", -EXACT),
        ("1234567890123456.78", Decimal("1234567890123456.78")),
        ("99999999999999.999", Decimal("99999999999999.999")),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551617", 2**64 + 1),
        ("-9223372036854775809", -(2**63) - 1),
        ("100000000000000000000", 1e20),
        ("1" + "0" * 22, 1e22),
        ("1" + "0" * 23, 1e23),
        (f"{Decimal(repr(sys.float_info.max)):f}", sys.float_info.max),
        (f"-{Decimal(repr(sys.float_info.max)):f}", -sys.float_info.max),
        ("1" + "0" * 400, 10**400),
        ("0." + "0" * 400 + "1", Decimal("0." + "0" * 400 + "1")),
    ],
)
def test_a_number_keeps_its_digits(text: str, value: Any) -> None:
    for read in (exact_json.loads(text), exact_json.loads(f'{{"a": [1, {text}]}}')["a"][1]):
        assert (read, type(read)) == (value, type(value))
        again = exact_json.loads(exact_json.dumps(read))
        assert (again, type(again)) == (value, type(value))


@pytest.mark.parametrize(
    "value",
    [
        "0.12345678901234567891",
        "20260101120000000001",
        "order-18446744073709551617",
        "see 18446744073709551617.5",
        "192.168.100.100.192.168",
        "1" * 5000,
    ],
)
def test_text_that_looks_like_a_number_is_text(value: str) -> None:
    assert exact_json.loads(json.dumps({"a": value, value: 1})) == {"a": value, value: 1}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_is_read_as_itself(value: float) -> None:
    for text in (repr(value), f"{value:.17g}", f"{Decimal(repr(value)):f}"):
        read = float(exact_json.loads(text))
        assert struct.pack("d", read + 0.0) == struct.pack("d", value + 0.0)


leaves = st.none() | st.booleans() | st.text() | st.integers() | st.floats(allow_nan=False)


@given(
    st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=9
    )
)
def test_what_orjson_keeps_is_read_as_orjson_reads_it(value: Any) -> None:
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        return
    assert exact_json.loads(encoded) == orjson.loads(encoded)


@pytest.mark.parametrize("text", ["", "{", "NaN", '{"a": Infinity, "b": 18446744073709551617}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        exact_json.loads(text)
