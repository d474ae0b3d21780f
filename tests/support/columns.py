"""Columns of every type that is accepted, with values for each, some of which do not fit."""

from __future__ import annotations

import enum
import ipaddress
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

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
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Text,
    Time,
    TypeDecorator,
    Unicode,
    Uuid,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, Range

from refold.projection.columns import WrongValue, settle_for
from refold.projection.declaration import Row


class Mood(enum.Enum):
    """Members whose names and values differ."""

    GOOD = "fine"
    BAD = 2


class Euros(TypeDecorator[Decimal]):
    """Amounts, stored as cents."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return None if value is None else int(value * 100)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else Decimal(value) / 100


class Tags(TypeDecorator[frozenset[str]]):
    """Sets of words, stored as JSON; no words for NULL."""

    impl = JSONB
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return sorted(value) if value else None

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return frozenset(value or ())


# What must be in the database before a table of these columns.
NEEDED = [
    "CREATE TYPE mood AS ENUM ('GOOD', 'BAD')",
    "CREATE DOMAIN percentage AS numeric(5, 2) CHECK (value BETWEEN 0 AND 100)",
]

ZONES = st.sampled_from(
    [UTC, timezone(timedelta(hours=9)), timezone(-timedelta(hours=3, minutes=30))]
)
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8)
naive = st.datetimes() | st.sampled_from([datetime.max, datetime.min])
aware = st.one_of(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=ZONES),
    st.sampled_from([datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)]),
)
dates = st.dates() | st.sampled_from([date.max, date.min])
times = st.times()
offsets = st.integers(-14 * 3600, 14 * 3600).map(lambda s: timezone(timedelta(seconds=s)))
zoned_times = st.builds(lambda at, zone: at.replace(tzinfo=zone), times, offsets | st.just(UTC))
intervals = st.timedeltas(-timedelta(10**5), timedelta(10**5)) | st.just(timedelta.max)
numbers = st.one_of(
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-100, max_value=100, places=6),
    st.sampled_from(["-0.00", "0.005", "-0.005", "1E+3", "-0E+5", "9.5", "99.995"]).map(Decimal),
    st.floats(-1e12, 1e12),
    st.integers(-(10**12), 10**12),
)
exact = st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-9, max_value=9)
floats = st.floats() | st.integers(-(2**70), 2**70)
in_json = st.one_of(
    st.floats(), st.integers(-(2**80), 2**80), exact, st.sampled_from([1e16, 1e22, 1e23, 5e-324])
)
flat = st.one_of(st.none(), st.booleans(), in_json, texts)
nested = flat | st.lists(flat, max_size=2) | st.dictionaries(texts, flat, max_size=3)
documents = nested | st.lists(nested, max_size=2) | st.dictionaries(texts, nested, max_size=4)
moods = st.sampled_from([*Mood, "GOOD", "BAD", "UGLY"])
bits = st.text("01", max_size=5)
addresses = st.one_of(
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda ip: ipaddress.ip_interface(f"{ip}/9")),
    st.ip_addresses(v=6).map(lambda ip: f"{ip}/31"),
)
networks = st.ip_addresses().map(lambda ip: ipaddress.ip_network(f"{ip}/8", strict=False))


def _array(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.none() | items, max_size=3)


def _ranges(ends: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    bounds: Any = st.sampled_from(["[)", "[]", "()", "(]"])
    made = st.builds(
        lambda one, other, how: Range(one, other, bounds=how),
        st.none() | ends,
        st.none() | ends,
        bounds,
    )
    return made | st.just(Range(empty=True))


pairs = st.lists(st.lists(st.none() | st.integers(-5, 5), min_size=2, max_size=2), max_size=2)

KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "text": (Text(), texts),
    "Größe (cm)": (String(5), texts),
    "char": (CHAR(4), texts),
    "unicode": (Unicode(6), texts),
    "smallint": (SmallInteger(), st.integers(-(2**15), 2**15 - 1)),
    "integer": (Integer(), st.integers(-(2**31), 2**31)),
    "bigint": (BigInteger(), st.integers(-(2**63), 2**63 - 1)),
    "price": (Numeric(14, 2), numbers),
    "whole": (Numeric(5), numbers),
    "fraction": (Numeric(3, 5), numbers),
    "thousands": (Numeric(6, -3), numbers),
    "exact": (Numeric(), numbers | exact),
    "as_float": (Numeric(14, 2, asdecimal=False), numbers),
    "exact_as_float": (Numeric(asdecimal=False), numbers),
    "float": (Float(), floats),
    "double": (Double(), floats),
    "real": (REAL(), floats),
    "float24": (Float(24), floats),
    "naive": (DateTime(), naive),
    "aware": (DateTime(timezone=True), aware),
    "seconds": (TIMESTAMP(precision=0), naive),
    "millis": (TIMESTAMP(timezone=True, precision=3), aware),
    "date": (Date(), dates),
    "time": (Time(), times),
    "time_seconds": (postgresql.TIME(precision=1), times),
    "timetz": (Time(timezone=True), zoned_times),
    "interval": (Interval(), intervals),
    "interval_millis": (postgresql.INTERVAL(precision=3), intervals),
    "boolean": (Boolean(), st.booleans()),
    "checked": (Boolean(create_constraint=True, name="checked_truth"), st.booleans()),
    "uuid": (Uuid(), st.uuids()),
    "uuid_text": (Uuid(as_uuid=False), st.uuids().map(str)),
    "uuid_char": (Uuid(native_uuid=False), st.uuids()),
    "bytes": (LargeBinary(), st.binary(max_size=8)),
    "json": (JSON(), documents),
    "jsonb": (JSONB(), documents),
    "variant": (Text().with_variant(JSONB(), "postgresql"), documents),
    "enum": (Enum(Mood, native_enum=False), moods),
    "enum_native": (Enum(Mood, name="mood", schema="public"), moods),
    "enum_checked": (
        Enum(Mood, native_enum=False, create_constraint=True, name="mood_check"),
        moods,
    ),
    "enum_text": (Enum("a", "b", native_enum=False), st.sampled_from(["a", "b", "c"])),
    "domain": (
        postgresql.DOMAIN("percentage", Numeric(5, 2), schema="public", create_type=False),
        st.decimals(0, 100, places=3),
    ),
    "bit": (postgresql.BIT(3), bits),
    "varbit": (postgresql.BIT(4, varying=True), bits),
    "inet": (postgresql.INET(), addresses),
    "cidr": (postgresql.CIDR(), networks),
    "oid": (postgresql.OID(), st.integers(-1, 2**32)),
    "int4range": (postgresql.INT4RANGE(), _ranges(st.integers(-(2**31), 2**31 - 1))),
    "int8range": (postgresql.INT8RANGE(), _ranges(st.integers(-9, 9))),
    "numrange": (postgresql.NUMRANGE(), _ranges(numbers)),
    "daterange": (postgresql.DATERANGE(), _ranges(dates)),
    "tsrange": (postgresql.TSRANGE(), _ranges(naive)),
    "tstzrange": (postgresql.TSTZRANGE(), _ranges(aware)),
    "euros": (Euros(), st.decimals(-100, 100, places=3)),
    "tags": (Tags(), st.frozensets(texts, max_size=3)),
    "array": (ARRAY(Integer), _array(st.integers(-5, 5))),
    "pairs": (ARRAY(Integer, dimensions=2), pairs),
    "pairs_too": (ARRAY(Integer), pairs),
    "triple": (ARRAY(Integer, as_tuple=True), _array(st.integers(-5, 5)).map(tuple)),
    "texts": (ARRAY(String(3)), _array(texts)),
    "chars": (ARRAY(CHAR(3)), _array(texts)),
    "prices": (ARRAY(Numeric(14, 2)), _array(numbers)),
    "exacts": (ARRAY(Numeric(40, 20)), _array(exact)),
    "numerics": (ARRAY(Numeric), _array(numbers)),
    "reals": (ARRAY(REAL), _array(floats)),
    "doubles": (ARRAY(Double), _array(floats)),
    "dates": (ARRAY(Date), _array(dates)),
    "moments": (ARRAY(DateTime(timezone=True)), _array(aware)),
    "seconds_too": (ARRAY(TIMESTAMP(precision=0)), _array(naive)),
    "intervals": (ARRAY(Interval), _array(intervals)),
    "timetzs": (ARRAY(Time(timezone=True)), _array(zoned_times)),
    "uuids": (ARRAY(Uuid), _array(st.uuids())),
    "blobs": (ARRAY(LargeBinary), _array(st.binary(max_size=4))),
    "booleans": (ARRAY(Boolean), _array(st.booleans())),
    "enums": (ARRAY(Enum(Mood, native_enum=False)), _array(moods)),
    "enums_native": (ARRAY(Enum(Mood, name="mood", schema="public")), _array(moods)),
    "inets": (ARRAY(postgresql.INET), _array(addresses)),
    "ranges": (ARRAY(postgresql.DATERANGE), _array(_ranges(dates))),
}

# Names that mean something else to somebody on the way.
ODD_NAMES = [
    *["r", "t", "v", "new", "old", "key", "position", "frozen", "row", "k0", "Upper", "select"],
    *['quo"te', "apos'trophe", "per%cent", "%s", "%(n)s", "co:lon", ":n", "back\\slash", "a.b"],
    *["$1", "sp ace", "Größe", "😀", "x" * 63, "ä" * 31, "excluded", "data", "param_1", "id_1"],
]


def columns() -> list[Column[Any]]:
    """A column of each kind, and some of odd names."""
    return [
        *[Column(name, kind) for name, (kind, _) in KINDS.items()],
        *[Column(name, Integer) for name in ODD_NAMES],
    ]


SETTLES = {column.name: settle_for(column) for column in columns()}

handlers_rows = st.fixed_dictionaries(
    {
        **{name: st.none() | values for name, (_, values) in KINDS.items()},
        **dict.fromkeys(ODD_NAMES, st.none() | st.integers(0, 9)),
    }
)


def fitting(values: Row) -> Row:
    """The values that their columns can hold; None for the others."""
    row: Row = {}
    for name, value in values.items():
        try:
            SETTLES[name](value)
            row[name] = value
        except (WrongValue, ArithmeticError):
            row[name] = None
    return row
