"""Which columns a projection may declare, and why it may not have others."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Column,
    Computed,
    Enum,
    Float,
    Identity,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    Sequence,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Uuid,
    func,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType, UserDefinedType

from refold import Event, Projection
from refold.errors import InvalidProjection
from refold.projection.columns import kind_of, settle_for
from tests.support.columns import KINDS
from tests.support.runs import NOON


class Vector(UserDefinedType[Any]):
    def get_col_spec(self, **_: Any) -> str:
        return "vector(3)"


class InSql(TypeDecorator[str]):
    impl = Text
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.lower(bindvalue)


class Colour(enum.Enum):
    RED = 1


def declared(*columns: Column[Any], name: str = "t") -> Projection:
    table = Table(name, MetaData(), Column("id", Text, primary_key=True), *columns)
    return Projection("p", table=table, key="stream_id")


@pytest.mark.parametrize(
    "kind",
    [
        *[postgresql.MONEY(), postgresql.TSVECTOR(), postgresql.TSQUERY(), postgresql.HSTORE()],
        *[postgresql.MACADDR(), postgresql.MACADDR8(), postgresql.CITEXT(), PickleType()],
        *[postgresql.REGCLASS(), postgresql.INT4MULTIRANGE(), postgresql.TSTZMULTIRANGE()],
        *[Vector(), InSql(), NullType(), Float(asdecimal=True), ARRAY(PickleType)],
        *[ARRAY(postgresql.JSONB), ARRAY(postgresql.MONEY), ARRAY(Vector)],
        ARRAY(Enum(Colour, native_enum=False, create_constraint=True, name="ck")),
        postgresql.INTERVAL(fields="YEAR TO MONTH"),
        postgresql.DOMAIN("d", postgresql.JSONB()),
    ],
    ids=repr,
)
def test_a_type_whose_values_could_differ_by_route_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidProjection, match=r"^p: column 'c': expected "):
        declared(Column("c", kind))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (Column("c", Integer, Identity()), "no identity"),
        (Column("c", Integer, Sequence("s")), "constant default"),
        (Column("c", Integer, default=func.random()), "constant default"),
        (Column("c", Text, default=lambda: "x"), "constant default"),
        (Column("c", Integer, onupdate=1), "no onupdate"),
        (Column("x" * 64, Integer), "expected a name of 1 to 63 bytes, got 64"),
        (Column("ä" * 32, Integer), "expected a name of 1 to 63 bytes, got 64"),
        (Column("xmin", Integer), "PostgreSQL has this one"),
    ],
    ids=["identity", "sequence", "sql", "callable", "onupdate", "long", "long-utf8", "system"],
)
def test_a_column_that_cannot_be_alike_is_refused(column: Column[Any], reason: str) -> None:
    with pytest.raises(InvalidProjection, match=reason):
        declared(column)


@pytest.mark.parametrize("kind", [Uuid(as_uuid=False), Uuid(native_uuid=False)], ids=repr)
def test_a_key_of_a_path_is_a_uuid_to_both_sides(kind: Any) -> None:
    table = Table("t", MetaData(), Column("id", kind, primary_key=True))
    with pytest.raises(InvalidProjection, match=r"key column 'id': expected Uuid\(\)"):
        Projection("p", table=table, key="stream_id")


@pytest.mark.parametrize(
    "kind",
    [ARRAY(Text), postgresql.JSONB(), Time(timezone=True), Numeric(), postgresql.NUMRANGE()],
    ids=repr,
)
def test_a_key_whose_values_are_not_told_apart_is_refused(kind: Any) -> None:
    table = Table("t", MetaData(), Column("id", kind, primary_key=True))
    with pytest.raises(InvalidProjection, match="p: column 'id': expected a key"):
        Projection("p", table=table, key=lambda event: event.stream_id)


def test_a_computed_column_is_not_for_handlers() -> None:
    projection = declared(Column("n", Integer), Column("twice", Integer, Computed("n * 2")))
    projection.on("A")(lambda row, event: {"n": 1})
    event = Event(1, "a", 1, "A", {}, {}, NOON)
    assert projection.fold([event]) == {"a": {"id": "a", "n": 1}}


@pytest.mark.parametrize("name", KINDS)
def test_none_is_taken_only_where_null_is(name: str) -> None:
    kind = KINDS[name][0]
    stored = settle_for(Column("c", kind))(None)
    assert stored is None or kind_of(Column("c", kind)).takes_none
    with pytest.raises(ValueError, match="column 'c': expected"):
        settle_for(Column("c", kind, nullable=False))(None)


@pytest.mark.parametrize("kind", [Interval(), LargeBinary(), String(5), Numeric(5, 2)], ids=repr)
def test_a_type_that_is_known_is_accepted(kind: Any) -> None:
    assert declared(Column("c", kind), Column("d", ARRAY(kind)))
