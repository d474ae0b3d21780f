"""Declarative classes as `table=`: their table counts, whatever declares it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    cast,
    select,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    MappedAsDataclass,
    mapped_column,
    registry,
    relationship,
)

from refold import Event, InvalidProjection, Projection, Row, SqlProjection


class Base(DeclarativeBase):
    """Of an application."""


class OrderTotal(Base):
    __tablename__ = "order_totals"
    __table_args__ = (Index("by_customer", "customer"),)
    order_id: Mapped[str] = mapped_column(Text, primary_key=True)
    customer: Mapped[str | None] = mapped_column(Text)
    total: Mapped[Decimal] = mapped_column("order_total", Numeric(14, 2))
    parts: Mapped[list[OrderPart]] = relationship()


class OrderPart(Base):
    __tablename__ = "order_parts"
    id: Mapped[str] = mapped_column(Text, ForeignKey(OrderTotal.order_id), primary_key=True)


class Plain(MappedAsDataclass, DeclarativeBase):
    """Of another one."""


class Counted(Plain):
    __tablename__ = "counted"
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    n: Mapped[int] = mapped_column(Integer, default=7)


_mapping = registry()


@_mapping.mapped
class Imperative:
    __table__ = Table(
        "imperative",
        _mapping.metadata,
        Column("key", Text, primary_key=True),
        Column("n", Integer, nullable=False),
    )


class Abstract(Base):
    __abstract__ = True


class Animal(Base):
    __tablename__ = "animals"
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}  # noqa: RUF012


class Cat(Animal):
    __mapper_args__ = {"polymorphic_identity": "cat"}  # noqa: RUF012


class Dog(Animal):
    __tablename__ = "dogs"
    id: Mapped[str] = mapped_column(Text, ForeignKey(Animal.id), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "dog"}  # noqa: RUF012


class Joined(Base):
    __table__ = OrderTotal.__table__.join(OrderPart.__table__)
    order_id = OrderTotal.__table__.c.order_id
    part_id = OrderPart.__table__.c.id


class Selected(Base):
    __table__ = select(OrderTotal.__table__.c.order_id).subquery()
    __mapper_args__ = {"primary_key": [__table__.c.order_id]}  # noqa: RUF012


def event(position: int, **data: Any) -> Event:
    return Event(position, "o-1", position, "Placed", data, {}, datetime(2026, 1, 1, tzinfo=UTC))


def test_rows_are_those_of_the_models_columns() -> None:
    made = Projection("orders", table=OrderTotal, key="stream_id")
    assert made.table is OrderTotal.__table__
    assert made.key_columns == ("order_id",)

    @made.on("Placed")
    def placed(row: Row | None, event: Event) -> Row | None:
        return {"customer": event.data["by"], "order_total": Decimal("1.005")}

    rows = made.fold([event(1, by="ann")])
    assert rows == {"o-1": {"order_id": "o-1", "customer": "ann", "order_total": Decimal("1.01")}}


@pytest.mark.parametrize("model", [Counted, Imperative])
def test_whatever_maps_it(model: type[Any]) -> None:
    made = Projection("counted", table=model, key="data.k")
    made.on("Placed")(lambda row, event: {"n": (row or {"n": 1})["n"] + 1})
    assert made.fold([event(1, k="a"), event(2, k="a")]) == {"a": {"key": "a", "n": 3}}


def test_what_a_column_has_by_default() -> None:
    made = Projection("counted", table=Counted, key="data.k")
    made.on("Placed")(lambda row, event: {})
    assert made.fold([event(1, k="a")]) == {"a": {"key": "a", "n": 7}}


def test_a_model_of_a_projection_said_in_sql_and_of_what_it_looks_up() -> None:
    made = SqlProjection(
        "orders",
        table=OrderTotal,
        lookups=[OrderPart],
        types=["Placed"],
        select=lambda events: select(
            events.c.stream_id.label("order_id"),
            events.c.data["by"].astext.label("customer"),
            cast(events.c.data["total"].astext, Numeric(14, 2)).label("order_total"),
        ).join(OrderPart, OrderPart.id == events.c.stream_id),
    )
    assert made.table is OrderTotal.__table__
    assert made.lookups == ("order_parts",)


REFUSED: dict[str, tuple[Any, str]] = {
    "an abstract base": (Abstract, "class Abstract, which is mapped to none"),
    "a class of its own": (datetime, "class datetime, which is mapped to none"),
    "the table of another class": (Cat, r"class Cat, which shares or joins tables .*\(animals\)"),
    "two tables, by inheritance": (Dog, r"class Dog, which .* \(animals, dogs\)"),
    "two tables, joined": (Joined, r"class Joined, which .* \(order_parts, order_totals\)"),
    "a select": (Selected, "class Selected, which is mapped to a subquery"),
    "an instance": (Counted(key="a"), "got a Counted"),
    "a name": ("order_totals", "got 'order_totals'"),
    "metadata": (MetaData(), "got a MetaData"),
    "nothing": (None, "got a NoneType"),
}
DECLARED: dict[str, Callable[[Any], Any]] = {
    "handlers": lambda table: Projection("x", table=table, key="stream_id"),
    "select": lambda table: SqlProjection("x", table=table, select=select),
}


@pytest.mark.parametrize("declare", DECLARED.values(), ids=DECLARED)
@pytest.mark.parametrize(("table", "said"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_one_table_is_refused(
    declare: Callable[[Any], Any], table: Any, said: str
) -> None:
    with pytest.raises(InvalidProjection, match=said) as refused:
        declare(table)
    assert str(refused.value).startswith("x: table: expected a SQLAlchemy table, or a declarative")
