"""The keys that an event belongs to: by a path, by several, by a function."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, Integer, Uuid

from refold import Event, Projection, Row
from refold.errors import PoisonEvent
from tests.support.declared import counted, event, fails, pair, table


def count(row: Row | None, event: Event) -> Row:
    return {"n": (row["n"] if row else 0) + 1}


def test_a_composite_key_is_a_tuple_in_the_order_of_the_primary_key() -> None:
    projection = pair()
    projection.on("Added")(lambda row, event: {"n": 1})
    folded = projection.fold([event(1, shop="x", sku="7")])
    assert folded == {("x", 7): {"shop": "x", "sku": 7, "n": 1}}


@pytest.mark.parametrize("data", [{"shop": "x"}, {"sku": 7}, {"shop": None, "sku": 7}, {}])
def test_an_event_that_lacks_a_part_of_the_key_is_skipped(data: dict[str, Any]) -> None:
    projection = pair()
    projection.on("Added")(fails)
    assert projection.fold([event(1, **data)]) == {}


@pytest.mark.parametrize("data", [{"shop": "x", "sku": "seven"}, {"shop": None, "sku": 2**31}])
def test_a_part_that_does_not_fit_is_poison_even_beside_one_that_is_missing(
    data: dict[str, Any],
) -> None:
    projection = pair()
    projection.on("Added")(fails)
    with pytest.raises(PoisonEvent, match=r"data.sku = .* does not fit the key column 'sku'"):
        projection.fold([event(1, **data)])


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (None, []),
        ([], []),
        ("a", ["a"]),
        (["a", "b", "a"], ["a", "b"]),
        (("a",), ["a"]),
        ([("a",), "a"], ["a"]),
        ("", [""]),
    ],
)
def test_a_key_function_names_no_key_or_one_or_many(key: Any, keys: list[Any]) -> None:
    assert counted(lambda event: key).rows.keys_of(event()) == keys


@pytest.mark.parametrize(
    ("key", "keys"),
    [
        (("x", 1), [("x", 1)]),
        ([("x", 1), ("x", 2)], [("x", 1), ("x", 2)]),
        (None, []),
    ],
)
def test_a_key_function_names_composite_keys_as_tuples(key: Any, keys: list[Any]) -> None:
    assert pair(lambda event: key).rows.keys_of(event()) == keys


@pytest.mark.parametrize("key", ["x", ("x",), ("x", 1, 2), ["x", 1], (), ["x"]])
def test_a_key_of_the_wrong_number_of_parts_is_poison(key: Any) -> None:
    with pytest.raises(PoisonEvent, match=r"expected 2 part\(s\) for \(shop, sku\), got"):
        pair(lambda event: key).rows.keys_of(event())


@pytest.mark.parametrize("key", [("x", "1"), ("x", True), (None, 1), [("x", 1), ("x", None)]])
def test_a_key_functions_value_must_be_its_columns(key: Any) -> None:
    with pytest.raises(PoisonEvent, match=r"column '(shop|sku)': expected"):
        pair(lambda event: key).rows.keys_of(event())


def test_a_key_function_thatfails_makes_the_event_poison() -> None:
    projection = counted(lambda event: event.data["customer"])
    with pytest.raises(PoisonEvent, match=r"event 5 .*KeyError: 'customer'"):
        projection.rows.keys_of(event(5))


def test_an_event_with_several_keys_is_folded_into_each() -> None:
    projection = counted(lambda event: event.data["tags"])
    projection.on("Added")(count)
    folded = projection.fold([event(1, tags=["a", "b"]), event(2, tags=["b"])])
    assert {key: row["n"] for key, row in folded.items()} == {"a": 1, "b": 2}


def test_a_uuid_key_is_one_key_however_it_is_written() -> None:
    by_uuid = table(Column("id", Uuid, primary_key=True), Column("n", Integer))
    projection = Projection("p", table=by_uuid, key="data.id")
    projection.on("Added")(count)
    lower = "0f8fad5b-d9cb-469f-a165-70867728950e"
    folded = projection.fold([event(1, id=lower), event(2, id=lower.upper())])
    assert [row["n"] for row in folded.values()] == [2]
