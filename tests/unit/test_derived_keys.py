"""Keys of single event types, and keys that are derived: what they are, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Column, Date, Integer, select

from refold import Event, Projection, Row, day, lower, month, split, week, year
from refold.errors import ConfigurationError, InvalidProjection, PoisonEvent
from refold.projection.key import key_loader, stored_key
from refold.source.port.event_source import EventSource
from refold.source.port.requirements import require_keys_seen
from refold.source.reader import in_key_order
from refold.store.schema import events
from tests.support.declared import counted, event, pair, table

AT = datetime(2024, 2, 29, 23, 30, tzinfo=UTC)


def count(row: Row | None, event: Event) -> Row:
    return {"n": (row["n"] if row else 0) + 1}


def rows(projection: Projection, *events: Event) -> dict[Any, int]:
    return {key: row["n"] for key, row in projection.fold(events).items()}


# -- a key for each type ----------------------------------------------------------------------


def subscriptions() -> Projection:
    projection = counted("stream_id")
    projection.on("Subscribed", "Cancelled")(count)
    projection.on("InvoiceIssued", key="data.subscription_id")(count)
    return projection


def test_one_row_is_made_of_several_kinds_of_streams() -> None:
    issued = event(3, "InvoiceIssued", subscription_id="s-1")
    skipped = event(4, "InvoiceIssued")
    made = [event(1, "Subscribed"), event(2, "Subscribed"), issued, skipped]
    assert rows(subscriptions(), *made) == {"s-1": 2, "s-2": 1}


def test_each_part_of_a_composite_key_may_be_a_types_own() -> None:
    projection = pair()
    projection.on("Added")(count)
    projection.on("Moved", key=("data.to", "data.sku"))(count)
    made = [event(1, shop="x", sku=7), event(2, "Moved", shop="x", sku=7, to="y")]
    assert rows(projection, *made) == {("x", 7): 1, ("y", 7): 1}
    assert projection.key_paths is not None
    assert [part.path for part in projection.key_paths] == [
        "data.shop or data.to of Moved",
        "data.sku",
    ]


def test_a_value_that_does_not_fit_is_told_with_the_types_own_path() -> None:
    projection = pair()
    projection.on("Moved", key=("data.to", "data.other"))(count)
    with pytest.raises(PoisonEvent, match=r"data\.other = .* does not fit the key column 'sku'"):
        projection.fold([event(1, "Moved", to="y", other="seven", sku=7)])


def test_a_types_key_that_is_the_projections_own_changes_no_statement() -> None:
    plain, same = counted("data.k"), counted("data.k")
    plain.on("A", "B")(count)
    same.on("A")(count)
    same.on("B", key="data.k")(count)
    statements = [
        str(in_key_order(projection, upto=9, low=None, high=None)) for projection in (plain, same)
    ]
    assert statements[0] == statements[1]
    assert "CASE WHEN (refold.events.type" not in statements[0]


def test_the_types_are_constants_with_the_prefix_that_is_stored() -> None:
    [part] = subscriptions().key_paths or ()
    compiled = select(part.sql(events, "Shop.")).compile()
    assert ["Shop.InvoiceIssued"] in compiled.params.values()


@pytest.mark.parametrize(
    ("projection", "key", "expected"),
    [
        (
            counted(),
            lambda event: event.stream_id,
            r"'Added'.*got a function, which SQL cannot see",
        ),
        (counted(lambda event: "a"), "data.k", r"own key, which is a function.*event\.type"),
        (pair(), "data.shop", r"expected 2 path\(s\).*\(shop, sku\), got 1"),
        (counted(), ("data.a", "data.b"), r"expected 1 path\(s\).*\(id\), got 2"),
        (counted(), "sku", r"expected 'stream_id', 'data.<field>' or 'metadata.<field>'"),
        (counted(), 7, r"expected 'stream_id', 'data.<field>' or 'metadata.<field>'"),
        (counted(), month("recorded_at"), r"'id': expected a Date column for month\(recorded_at\)"),
        (pair(), ("data.shop", day("data.at")), r"'sku': expected a Date column"),
    ],
)
def test_a_types_key_that_cannot_be_is_refused(
    projection: Projection, key: Any, expected: str
) -> None:
    with pytest.raises(InvalidProjection, match=expected) as refused:
        projection.on("Added", key=key)
    assert str(refused.value).startswith(f"{projection.name}: on('Added'): ")


def test_a_type_has_one_handler_and_so_one_key() -> None:
    projection = subscriptions()
    before = projection.key_paths
    with pytest.raises(InvalidProjection, match="'InvoiceIssued' has a handler already"):
        projection.on("InvoiceIssued", key="data.other")(count)
    with pytest.raises(InvalidProjection, match="'Subscribed' has a handler already"):
        projection.on("New", "Subscribed", key="data.other")(count)
    assert projection.key_paths == before


# -- derived ----------------------------------------------------------------------------------


def dated(key: Any) -> Projection:
    projection = Projection(
        "dated",
        table=table(Column("day", Date, primary_key=True), Column("n", Integer)),
        key=key,
    )
    projection.on("Added")(count)
    return projection


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (day, date(2024, 2, 29)),
        (week, date(2024, 2, 26)),
        (month, date(2024, 2, 1)),
        (year, date(2024, 1, 1)),
    ],
)
def test_a_period_is_its_first_day_in_utc(unit: Any, expected: date) -> None:
    by_time = dated(unit("recorded_at"))
    assert rows(by_time, event()._replace(recorded_at=AT)) == {expected: 1}
    for written in ("2024-02-29", "2024-02-29T23:59:59.9999999Z", "2024-03-01 00:30:00+01:00"):
        assert rows(dated(unit("data.at")), event(at=written)) == {expected: 1}
    assert rows(dated(unit("data.at")), event(at=None), event()) == {}


@pytest.mark.parametrize("written", ["2023-02-29", "29.02.2024", 20240229, True, [], ""])
def test_what_is_no_moment_is_poison(written: Any) -> None:
    with pytest.raises(PoisonEvent, match=r"month\(data\.at\) of .*: expected a date, or a moment"):
        dated(month("data.at")).fold([event(at=written)])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (lower("data.k"), "Ann@Shop.EU", "ann@shop.eu"),
        (lower("data.k"), "ÉCOLE Ж Ǆ", "école ж ǆ"),
        (lower("data.k"), "İẞ", "İẞ"),
        (lower("data.k"), True, "true"),
        (split("data.k", "-", 0), "EU-tea-250", "EU"),
        (split("data.k", "-", -1), "EU-tea-250", "250"),
        (split("data.k", "-", 3), "EU-tea-250", None),
        (split("data.k", "-", -4), "EU-tea-250", None),
        (split("data.k", "-", 1), "EU-", ""),
        (split("data.k", "-", 0), "", None),
        (lower(split("data.k", "@", -1)), "Ann@Shop.EU", "shop.eu"),
        (split(split("data.k", "/", 0), "-", 1), "a-b/c", "b"),
    ],
)
def test_a_text_is_lowered_and_split(key: Any, value: Any, expected: str | None) -> None:
    projection = counted(key)
    projection.on("Added")(count)
    found = rows(projection, event(k=value))
    assert found == ({} if expected is None else {expected: 1})


def test_a_part_becomes_a_value_of_its_column() -> None:
    projection = pair((lower("data.shop"), split("stream_id", "-", 1)))
    projection.on("Added")(count)
    assert rows(projection, event(7, shop="X")) == {("x", 7): 1}
    with pytest.raises(PoisonEvent, match=r"split\(stream_id, '-', 1\) = .*column 'sku'"):
        projection.fold([event(shop="X")._replace(stream_id="s-seven")])


WRONG: Any = month("recorded_at")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: lower("recorded_at"), r"lower\(\): key 'recorded_at': expected 'stream_id'"),
        (lambda: lower(WRONG), r"lower\(\): .*or what lower\(\) or split\(\) gives"),
        (lambda: month("placed_at"), r"month\(\): key 'placed_at': .*, or 'recorded_at'"),
        (lambda: day(WRONG), r"day\(\): "),
        (lambda: split("data.k", "", 0), r"separator: expected a text of at least one character"),
        (lambda: split("data.k", "\0", 0), "separator"),
        (lambda: split("data.k", "\ud800", 0), "separator"),
        (lambda: split("data.k", 1, 0), "separator"),  # type: ignore[arg-type]
        (lambda: split("data.k", "-", 1000), r"index: expected a whole number.*got 1000"),
        (lambda: split("data.k", "-", True), "index"),
        (lambda: dated("recorded_at"), r"expected 'stream_id', 'data.<field>'"),
        (lambda: dated("data.day"), r"expected a Text, String, Integer or Uuid column"),
    ],
)
def test_what_cannot_be_derived_is_refused(make: Any, expected: str) -> None:
    with pytest.raises(InvalidProjection, match=expected):
        make()


def test_a_date_is_stored_as_text_and_comes_back() -> None:
    made = dated(day("recorded_at")).table
    key = date(2024, 2, 29)
    assert stored_key(key) == ["2024-02-29"]
    assert key_loader(made)(["2024-02-29"]) == key


# -- what SQL must see ------------------------------------------------------------------------


def test_keys_of_data_that_sql_cannot_see_are_refused() -> None:
    source = EventSource(
        events, position=events.c.position, type=events.c.type, data=events.c.data, decode=dict
    )
    for projection in (subscriptions(), counted(lower("data.k")), dated(day("data.at"))):
        with pytest.raises(ConfigurationError, match=r"expected paths that SQL can see, got 'data"):
            require_keys_seen(source, [projection])
    with pytest.raises(ConfigurationError, match=r"dated: key: expected events with a time"):
        require_keys_seen(source, [dated(day("recorded_at"))])
    by_stream = counted(lower("stream_id"))
    by_stream.on("Added", key="metadata.id")(count)
    require_keys_seen(source, [by_stream])
