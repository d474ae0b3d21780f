"""Handlers of classes: what they are given, and what is said of events that do not validate."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator
from sqlalchemy import Column, Integer, MetaData, Numeric, Table, Text

from refold import Event, InvalidProjection, PoisonEvent, Projection, Row, TypedEvent, upcast
from refold.projection.dead_letters import Letter
from refold.projection.reading.upcasting import UPCASTERS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Line(BaseModel):
    sku: str
    quantity: int = Field(ge=1)
    price: Decimal = Decimal(0)


class OrderPlaced(BaseModel):
    customer_id: str
    lines: list[Line] = []


@dataclass(frozen=True)
class OrderPaid:
    event_type: ClassVar[str] = "order.paid"
    at: datetime
    amount: Decimal


class Exact(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    at: datetime
    id: UUID
    amount: Decimal


def totals(key: Any = "stream_id") -> Projection:
    table = Table(
        "totals",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("lines", Integer),
        Column("total", Numeric(14, 2)),
    )
    return Projection("totals", table=table, key=key)


def _kept(row: Row | None, event: Any) -> Row | None:
    return row


def event(kind: str, data: Any, position: int = 1) -> Event:
    return Event(position, "s", position, kind, data, {"by": "ann"}, NOON)


def reason(projection: Projection, stored: Event) -> str:
    with pytest.raises(PoisonEvent) as caught:
        projection.fold([stored])
    return caught.value.reason


def test_a_handler_is_given_an_instance_and_all_else_as_it_is() -> None:
    projection = totals()
    seen: list[TypedEvent[Any]] = []

    @projection.on(OrderPlaced)
    def placed(row: Row | None, event: TypedEvent[OrderPlaced]) -> Row:
        seen.append(event)
        return {
            "lines": len(event.data.lines),
            "total": sum((line.price * line.quantity for line in event.data.lines), Decimal(0)),
        }

    @projection.on(OrderPaid)
    def paid(row: Row | None, event: TypedEvent[OrderPaid]) -> Row:
        seen.append(event)
        assert row is not None
        return {**row, "total": row["total"] - event.data.amount}

    assert projection.event_types == ["OrderPlaced", "order.paid"]
    line = {"sku": "tea", "quantity": 2, "price": "4.50"}
    stored = event("OrderPlaced", {"customer_id": "ann", "lines": [line, line], "more": 1})
    rows = projection.fold(
        [stored, event("order.paid", {"at": "2026-01-01T00:00:00Z", "amount": 5}, 2)]
    )
    assert rows == {"s": {"id": "s", "lines": 2, "total": Decimal("13.00")}}
    given, paid_given = seen
    assert given.data == OrderPlaced(customer_id="ann", lines=[Line(**line), Line(**line)])
    assert paid_given.data == OrderPaid(datetime(2026, 1, 1, tzinfo=UTC), Decimal(5))
    assert tuple(given._replace(data=stored.data)) == tuple(stored)
    assert isinstance(given, TypedEvent)


def test_strict_models_take_what_json_can_say() -> None:
    projection = totals()
    projection.on(Exact)(lambda row, event: {"lines": 0, "total": event.data.amount})

    class Part(BaseModel):
        at: datetime = Field(strict=True)

    projection.on(Part)(lambda row, event: {"lines": event.data.at.year, "total": 0})
    one = {"at": "2026-01-01T00:00:00Z", "id": str(UUID(int=1)), "amount": "2.5"}
    (row,) = projection.fold([event("Exact", one)]).values()
    assert row["total"] == Decimal("2.5")
    (row,) = projection.fold([event("Part", one)]).values()
    assert row["lines"] == 2026
    assert "data.amount: " in reason(projection, event("Exact", {**one, "amount": True}))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "expected data of OrderPlaced: data.customer_id: Field required"),
        (
            {"customer_id": "ann", "lines": [{"sku": "a", "quantity": "secret"}]},
            "data.lines.0.quantity: Input should be a valid integer, unable to parse string as an "
            "integer, got a text of 6 characters",
        ),
        (
            {"customer_id": "ann", "lines": [{"sku": "a", "quantity": 0}]},
            "data.lines.0.quantity: Input should be greater than or equal to 1",
        ),
        ([], "data: Input should be an object, got a list of 0"),
        ({"lines": [1, 2, 3, 4]}, "; and 2 more"),
    ],
)
def test_an_event_that_does_not_validate_is_poison_with_the_path(data: Any, said: str) -> None:
    projection = totals()
    projection.on(OrderPlaced)(lambda row, event: row)
    why = reason(projection, event("OrderPlaced", data))
    assert said in why
    assert "secret" not in why


class _Dog(BaseModel):
    kind: Literal["dog"]


class _Cat(BaseModel):
    kind: Literal["cat"]


class _Pet(BaseModel):
    pet: _Dog | _Cat = Field(discriminator="kind")
    event_type: ClassVar[str] = "Pet"


class _Password(BaseModel):
    password: str = Field(min_length=20)
    event_type: ClassVar[str] = "Password"


@pytest.mark.parametrize(
    ("cls", "kind", "data"),
    [
        (_Pet, "Pet", {"pet": {"kind": "secret"}}),
        (_Password, "Password", {"password": "secret"}),
        (Exact, "Exact", {"at": "secret", "id": "secret", "amount": "secret"}),
    ],
)
def test_no_value_is_told_neither_in_the_reason_nor_in_the_trace(
    cls: type[Any], kind: str, data: Any
) -> None:
    projection = totals()
    projection.on(cls)(lambda row, event: row)
    with pytest.raises(PoisonEvent) as caught:
        projection.fold([event(kind, data)])
    letter = Letter.of(caught.value)
    assert letter.error.startswith(f"expected data of {cls.__name__}: data.")
    assert "secret" not in f"{letter.error}{letter.trace}{caught.value}"


def test_a_validator_that_raises_is_poison() -> None:
    class Odd(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def judged(cls, n: int) -> int:
            if n == 1:
                raise ValueError("one is odd")
            raise LookupError("no such number")

    projection = totals()
    projection.on(Odd)(lambda row, event: row)
    assert "data.n: Value error, one is odd" in reason(projection, event("Odd", {"n": 1}))
    assert reason(projection, event("Odd", {"n": 2})).startswith("LookupError: no such number (at ")


def test_old_events_are_upcast_and_then_validated() -> None:
    with UPCASTERS.set_apart():
        projection = totals()
        projection.on(OrderPaid)(lambda row, event: {"lines": 0, "total": event.data.amount})

        @upcast("paid", from_version=1, to_type="order.paid")
        def dated(event: Event) -> dict[str, Any]:
            return {**event.data, "at": event.recorded_at.isoformat()}

        (row,) = projection.fold([event("paid", {"amount": "7.5"})]).values()
        assert row["total"] == Decimal("7.5")
        assert "data.amount: Field required" in reason(projection, event("paid", {}))


# -- the type's name ---------------------------------------------------------------------------


class _Base(BaseModel):
    event_type: ClassVar[str] = "base"


class _Inherits(_Base):
    pass


@dataclass
class _HasAField:
    event_type: str = "no type"


@dataclass
class _Wrong:
    event_type: ClassVar[int] = 3


def test_the_type_is_the_class_s_name_or_what_the_class_declares() -> None:
    projection = totals()
    projection.on(_Inherits, _HasAField)(lambda row, event: row)
    assert projection.event_types == ["_HasAField", "base"]
    with pytest.raises(InvalidProjection, match="'base' has a handler already"):
        projection.on(_Base)(lambda row, event: row)
    with pytest.raises(InvalidProjection, match=r"_Wrong.event_type: expected an event type"):
        projection.on(_Wrong)(lambda row, event: row)


@pytest.mark.parametrize("wrong", [dict, 3, None, TypedEvent, OrderPaid(NOON, Decimal(1))])
def test_other_classes_are_refused(wrong: Any) -> None:
    said = "totals: expected event types as texts, pydantic"
    decorate: Any = totals().on(wrong)
    with pytest.raises(InvalidProjection, match=said):
        decorate(_kept)


class _Unfinished(BaseModel):
    what: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass
class _Unvalidated:
    what: Table


@pytest.mark.parametrize("cls", [_Unfinished, _Unvalidated])
def test_a_class_that_pydantic_cannot_validate_by_is_refused(cls: type[Any]) -> None:
    with pytest.raises(InvalidProjection, match="expected a class that pydantic can validate by"):
        totals().on(cls)(lambda row, event: row)


# -- keys look at what is stored ---------------------------------------------------------------


class _Renamed(BaseModel):
    customer_id: str = Field(alias="customerId")


class _EitherWay(_Renamed):
    model_config = ConfigDict(populate_by_name=True)


def test_a_key_by_the_python_name_of_a_field_that_is_stored_otherwise_is_refused() -> None:
    with pytest.raises(InvalidProjection, match=r"write 'data.customerId'"):
        totals("data.customer_id").on(_Renamed)(lambda row, event: row)
    with pytest.raises(InvalidProjection, match=r"write 'data.customerId'"):
        totals().on(_Renamed, key="data.customer_id")(lambda row, event: row)
    projection = totals("data.customer_id")
    projection.on(_Renamed, key="data.customerId")(lambda row, event: {"lines": 1, "total": 0})
    assert projection.fold([event("_Renamed", {"customerId": "ann"})]).keys() == {"ann"}
    totals("data.customerId").on(_Renamed)(lambda row, event: row)
    totals("data.customer_id").on(_EitherWay)(lambda row, event: row)
    totals("data.else").on(_Renamed)(lambda row, event: row)


def test_it_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    projection = totals()
    projection.on(OrderPaid)(lambda row, event: {"lines": 0, "total": event.data.amount})
    monkeypatch.setattr(TypeAdapter, "__init__", None)
    paid = {"at": "2026-01-01T00:00:00Z", "amount": 5}
    assert len(projection.fold([event("order.paid", paid), event("order.paid", paid, 2)])) == 1
