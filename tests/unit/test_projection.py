"""Declaring a projection, and folding with it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Numeric, Text
from sqlalchemy.dialects.postgresql import JSONB

from refold import Event, Projection, Row
from refold.errors import InvalidProjection, PoisonEvent
from tests.support.declared import counted, event, fails, pair, table


def count(row: Row | None, event: Event) -> Row:
    return {"n": (row["n"] if row else 0) + 1}


# -- declarations ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "Orders", "1st", "-a", "a_b", "a b", "a\n", "a" * 41])
def test_a_name_is_lower_case_with_hyphens(name: str) -> None:
    with pytest.raises(InvalidProjection, match=r"name: expected \[a-z\]"):
        Projection(name, table=table(), key="stream_id")


def test_a_name_may_have_forty_characters() -> None:
    assert Projection("a" * 40, table=table(), key="stream_id").name == "a" * 40


def test_versions_begin_at_one() -> None:
    with pytest.raises(InvalidProjection, match="version: expected 1 or more, got 0"):
        Projection("p", version=0, table=table(), key="stream_id")


def test_a_table_needs_a_primary_key() -> None:
    with pytest.raises(InvalidProjection, match="table 't' needs a primary key"):
        Projection("p", table=table(Column("id", Text)), key="stream_id")


@pytest.mark.parametrize("path", ["data", "Data.x", "data.", "data..x", "type", "", "stream_id.x"])
def test_a_path_begins_at_the_stream_the_data_or_the_metadata(path: str) -> None:
    with pytest.raises(InvalidProjection, match=r"expected 'stream_id', 'data.<field>'"):
        Projection("p", table=table(), key=path)


@pytest.mark.parametrize("paths", ["stream_id", ("data.a", "data.b", "data.c"), ()])
def test_paths_must_match_the_primary_key(paths: Any) -> None:
    with pytest.raises(InvalidProjection, match=r"expected 2 path\(s\) .*\(shop, sku\), got"):
        pair(paths)


def test_a_path_needs_a_key_column_of_a_type_that_sql_and_python_agree_on() -> None:
    of_numbers = table(Column("id", Numeric(4, 2), primary_key=True))
    with pytest.raises(InvalidProjection, match="use a key function instead"):
        Projection("p", table=of_numbers, key="data.x")


def test_an_event_type_has_one_handler() -> None:
    projection = counted()
    projection.on("Added")(count)
    with pytest.raises(InvalidProjection, match="'Added' has a handler already"):
        projection.on("Removed", "Added")(count)


def test_a_handler_is_for_some_type() -> None:
    with pytest.raises(InvalidProjection, match="expected at least one event type"):
        counted().on()


def test_a_handler_is_a_plain_function() -> None:
    async def waits(row: Row | None, event: Event) -> Row | None:
        return row

    with pytest.raises(InvalidProjection, match="'waits': expected a plain function"):
        counted().on("Added")(waits)  # type: ignore[arg-type]


def test_one_handler_may_take_several_types() -> None:
    projection = counted()
    projection.on("Removed", "Added")(count)
    assert projection.event_types == ["Added", "Removed"]


# -- folding -----------------------------------------------------------------------------------


def test_events_without_a_handler_are_passed_over() -> None:
    projection = counted(lambda event: "a")
    projection.on("Added")(count)
    folded = projection.fold([event(1), event(2, "Other"), event(3)])
    assert folded == {"a": {"id": "a", "n": 2}}


def test_none_deletes_the_row_and_the_next_event_begins_anew() -> None:
    projection = counted(lambda event: "a")
    projection.on("Added")(count)
    projection.on("Removed")(lambda row, event: None)
    assert projection.fold([event(1), event(2), event(3, "Removed")]) == {}
    again = [event(1), event(2), event(3, "Removed"), event(4)]
    assert projection.fold(again) == {"a": {"id": "a", "n": 1}}


def test_deleting_a_row_that_is_not_there_does_nothing() -> None:
    projection = counted()
    projection.on("Removed")(lambda row, event: None)
    assert projection.fold([event(1, "Removed")]) == {}


def test_a_handler_that_changes_its_argument_changes_nothing_else() -> None:
    projection = counted("stream_id", Column("tags", JSONB))

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        if row is None:
            return {"n": 0, "tags": []}
        row["n"] += 1
        row["tags"].append(event.position)
        return row

    fields = projection.rows.key_fields("a")
    first = projection.rows.apply(None, event(1), fields)
    second = projection.rows.apply(first, event(2), fields)
    third = projection.rows.apply(second, event(3), fields)
    assert first is not None
    assert first["n"] == 0
    assert second is not None
    assert second["tags"] == [2]
    assert third == {"id": "a", "n": 2, "tags": [2, 3]}


def test_a_handler_thatfails_halfway_leaves_the_row_as_it_was() -> None:
    projection = counted("stream_id", Column("tags", JSONB))

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        assert row is not None
        row["n"] = 7
        row["tags"]["seen"].append(event.position)
        raise ValueError("half done")

    row = {"id": "a", "n": 0, "tags": {"seen": []}}
    with pytest.raises(PoisonEvent, match="half done"):
        projection.rows.apply(row, event(), projection.rows.key_fields("a"))
    assert row == {"id": "a", "n": 0, "tags": {"seen": []}}


def test_a_constant_that_a_handler_returns_stays_its_own() -> None:
    empty: Row = {"n": 0, "tags": [], "id": "of the handler"}
    projection = counted("stream_id", Column("tags", JSONB))

    @projection.on("Reset")
    def reset(row: Row | None, event: Event) -> Row:
        return empty

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        assert row is not None
        row["n"] += 1
        row["tags"].append(event.position)
        return row

    steps = ["Reset", "Added", "Reset", "Added", "Added"]
    row: Row | None = None
    for position, kind in enumerate(steps, start=1):
        row = projection.rows.apply(row, event(position, kind), projection.rows.key_fields("a"))
    assert row == {"id": "a", "n": 2, "tags": [4, 5]}
    assert empty == {"n": 0, "tags": [], "id": "of the handler"}


@pytest.mark.parametrize("key", ["other", None, 1])
def test_the_key_columns_are_refolds(key: Any) -> None:
    projection = counted(lambda event: "a")
    projection.on("Added")(lambda row, event: {**(row or {"n": 0}), "id": key})
    assert projection.fold([event(1), event(2)]) == {"a": {"id": "a", "n": 0}}


def test_a_column_left_out_gets_its_default_or_null() -> None:
    projection = counted(
        "stream_id",
        Column("status", Text, nullable=False, default="new"),
        Column("note", Text),
    )
    projection.on("Added")(count)
    expected = {"id": "s-1", "n": 1, "status": "new", "note": None}
    assert projection.fold([event(1)]) == {"s-1": expected}


def test_values_are_settled_after_each_event() -> None:
    projection = counted(lambda event: "a", Column("total", Numeric(8, 2), nullable=False))

    @projection.on("Added")
    def added(row: Row | None, event: Event) -> Row:
        return {"n": 0, "total": (row["total"] if row else Decimal(0)) + Decimal("0.005")}

    # 0.005 becomes 0.01, and 0.015 becomes 0.02: not 0.01, as at the end.
    assert projection.fold([event(1), event(2)])["a"]["total"] == Decimal("0.02")


# -- poison ------------------------------------------------------------------------------------


def _returns(value: Any) -> Callable[[Row | None, Event], Any]:
    return lambda row, event: value


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (fails, "KeyError: 'price'"),
        (_returns({"n": 1, "nn": 2}), "table 't' has no column nn"),
        (_returns({"n": 1, "id": "x", "nn": 2, "mm": 3}), "no column mm, nn"),
        (_returns({"n": 1, 1: 2}), r"no column 1 \(int, expected str\)"),
        (_returns({"n": 1, None: 2, (1, 2): 3, "nn": 4}), r"no column \(1, 2\) \(tuple, exp.*, nn"),
        (_returns({f"c{n}": n for n in range(1000)}), "no column c0, c1, c2, c3, c4 and 995 more"),
        (_returns({}), "column 'n': expected int"),
        (_returns({"n": "1"}), "column 'n': expected int .*, got str '1'"),
        (_returns({"n": 10**5000}), "column 'n': expected int .*, got int that cannot be shown"),
        (_returns([]), "expected a dict or None, got list"),
        (_returns(1), "got int"),
        (_returns(False), "got bool"),
    ],
)
def test_what_a_handler_cannot_take_is_named_with_its_event(handler: Any, reason: str) -> None:
    projection = counted()
    projection.on("Added")(handler)
    with pytest.raises(PoisonEvent, match=reason) as caught:
        projection.fold([event(41, "Other"), event(42)])
    poison = caught.value
    named = (poison.projection, poison.position, poison.event_type, poison.stream_id)
    assert named == ("counted", 42, "Added", "s-42")
    assert "cannot take event 42 (Added of stream 's-42')" in str(poison)


@pytest.mark.parametrize("again", [{"id": "x", "m": 1}, {"id": "x", "n": None}, {"n": 1, "m": 1}])
def test_a_wrong_row_is_found_at_the_second_event_too(again: Row) -> None:
    projection = counted(lambda event: "a")
    projection.on("Added")(lambda row, event: again if row else {"n": 1})
    with pytest.raises(PoisonEvent, match="event 2"):
        projection.fold([event(1), event(2)])
