"""Upcasters: what they make of stored events, and what is refused of their declarations."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Column, MetaData, Numeric, Table, Text

from refold import Event, InvalidProjection, PoisonEvent, Projection, Row, upcast
from refold.projection.narrowed.reads import ALL, fields_read
from refold.projection.reading.upcasting import UPCASTERS
from refold.projection.registry import Registry

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    with UPCASTERS.set_apart():
        yield


def prices(*types: str) -> Projection:
    """The last price of each stream, in its currency."""
    table = Table(
        "prices",
        MetaData(),
        Column("id", Text, primary_key=True),
        Column("price", Numeric(14, 2)),
        Column("currency", Text),
    )
    projection = Projection("prices", table=table, key="stream_id")

    @projection.on(*(types or ("Priced",)))
    def priced(row: Row | None, event: Event) -> Row:
        return {"price": event.data["price"], "currency": event.data["currency"]}

    return projection


def event(kind: str, data: Any, **metadata: Any) -> Event:
    return Event(1, "s", 1, kind, data, metadata, NOON)


def cents(event: Event) -> dict[str, Any]:
    return {"price": event.data["cents"] / 100}


def euros(event: Event) -> dict[str, Any]:
    return {**event.data, "currency": "EUR"}


def folded(projection: Projection, *events: Event) -> tuple[Any, Any] | None:
    row = projection.fold(events).get("s")
    return None if row is None else (float(row["price"]), row["currency"])


# -- what they make ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stored",
    [
        event("Priced", {"cents": 250}),
        event("Priced", {"cents": 250}, schema_version=None),
        event("Priced", {"cents": 250}, schema_version=1),
        event("Priced", {"price": 2.5}, schema_version=2),
        event("Priced", {"price": 2.5}, schema_version="2"),
        event("Priced", {"price": 2.5, "currency": "EUR"}, schema_version=3),
        event("Priced", {"price": 2.5, "currency": "EUR"}, schema_version=4),
    ],
)
def test_an_event_of_any_version_comes_out_as_the_newest(stored: Event) -> None:
    projection = prices()
    upcast("Priced", from_version=2)(euros)  # the order in which they are imported is any
    upcast("Priced", from_version=1)(cents)
    assert folded(projection, stored) == (2.5, "EUR")
    Registry([projection])


def test_a_renamed_type_is_read_and_goes_to_the_handler_of_its_new_name() -> None:
    upcast("PriceSet", from_version=1, to_type="Priced")(cents)
    projection = prices()
    upcast("Priced", from_version=1)(euros)
    assert projection.event_types == ["PriceSet", "Priced"]
    assert projection.reading.upcast == {"PriceSet": [1], "Priced": [1]}
    assert folded(projection, event("PriceSet", {"cents": 250})) == (2.5, "EUR")
    assert folded(projection, event("Priced", {"price": 2.5})) == (2.5, "EUR")
    # One of a version that is not renamed has no handler here: it changes nothing.
    later = event("PriceSet", {"price": 9, "currency": "USD"}, schema_version=2)
    assert folded(projection, event("Priced", {"price": 2.5}), later) == (2.5, "EUR")


def test_a_renamed_type_may_go_on_counting_its_versions() -> None:
    upcast("PriceSet", from_version=1)(cents)
    upcast("PriceSet", from_version=2, to_type="Priced", to_version=3)(euros)
    upcast("Priced", from_version=1)(lambda event: {"price": 0, "currency": "none"})
    upcast("Priced", from_version=2)(lambda event: event.data)
    assert folded(prices(), event("PriceSet", {"cents": 250})) == (2.5, "EUR")


def test_a_version_may_be_stepped_over() -> None:
    upcast("Priced", from_version=1, to_version=3)(lambda event: {**cents(event), "currency": "€"})
    upcast("Priced", from_version=2)(euros)
    assert folded(prices(), event("Priced", {"cents": 250})) == (2.5, "€")


@pytest.mark.parametrize("at", ["metadata.event.revision", "data.v"])
def test_an_event_says_its_version_where_the_declaration_has_it(at: str) -> None:
    upcast("Priced", from_version=2, version_at=at)(euros)
    plain = event("Priced", {"price": 2.5, "currency": "USD"}, schema_version=2)
    there = event("Priced", {"price": 2.5, "v": 2}, event={"revision": 2})
    assert folded(prices(), plain) == (2.5, "USD")
    assert folded(prices(), there) == (2.5, "EUR")


def test_it_is_given_the_event_and_a_copy_of_its_data() -> None:
    seen = []

    @upcast("Priced", from_version=1)
    def first(event: Event) -> dict[str, Any]:
        seen.append(event)
        event.data["tags"].append("changed")
        return {"price": event.data.pop("cents") / 100}

    upcast("Priced", from_version=2)(euros)
    stored = event("Priced", {"cents": 250, "tags": []}, by="ann")
    several = Projection(
        "several", table=prices().table.to_metadata(MetaData()), key=lambda event: ["a", "b"]
    )
    several.on("Priced")(lambda row, event: {"price": event.data["price"], "currency": ""})
    assert several.fold([stored]).keys() == {"a", "b"}
    assert stored.data == {"cents": 250, "tags": []}
    assert {(one.position, one.type, one.metadata["by"]) for one in seen} == {(1, "Priced", "ann")}


def test_keys_look_at_what_is_stored() -> None:
    upcast("Priced", from_version=1)(lambda event: {**event.data, "sku": "new", "currency": "EUR"})
    for key in ("data.sku", lambda event: event.data["sku"]):
        projection = Projection("by-sku", table=prices().table.to_metadata(MetaData()), key=key)
        projection.on("Priced")(
            lambda row, event: {"price": event.data["price"], "currency": event.data["sku"]}
        )
        (row,) = projection.fold([event("Priced", {"sku": "old", "price": 1})]).values()
        assert (row["id"], row["currency"]) == ("old", "new")


def test_what_has_no_upcaster_is_called_as_it_is() -> None:
    projection = prices("Priced", "Other")
    handler = projection.handlers["Other"]
    upcast("Priced", from_version=1)(euros)
    assert projection.handlers["Other"] is handler
    assert projection.handlers["Priced"] is not handler


def test_an_upcaster_sees_all_of_an_event_whatever_the_handler_reads() -> None:
    projection = prices()
    (plain,) = projection.handlers.values()
    assert "metadata" not in fields_read([plain])
    upcast("Priced", from_version=1)(euros)
    assert fields_read(projection.handlers.values()) == ALL


def test_a_projection_that_is_gone_is_not_kept_for_its_upcasters() -> None:
    before = len(UPCASTERS._followers)
    projection = prices()
    assert len(UPCASTERS._followers) == before + 1
    del projection
    gc.collect()
    assert len(UPCASTERS._followers) <= before


def test_a_renamed_type_has_the_key_of_its_new_name() -> None:
    for early in (True, False):
        with UPCASTERS.set_apart():
            if early:
                upcast("PriceSet", from_version=1, to_type="Priced")(euros)
            projection = Projection(
                "by-sku", table=prices().table.to_metadata(MetaData()), key="stream_id"
            )
            projection.on("Priced", key="data.sku")(
                lambda row, event: {"price": event.data["price"], "currency": "EUR"}
            )
            if not early:
                upcast("PriceSet", from_version=1, to_type="Priced")(euros)
            stored = [event(kind, {"sku": kind, "price": 1}) for kind in ("PriceSet", "Priced")]
            assert projection.fold(stored).keys() == {"PriceSet", "Priced"}


def test_a_renamed_type_of_two_keys_is_refused() -> None:
    upcast("PriceSet", from_version=1, to_type="Priced")(cents)
    upcast("PriceSet", from_version=2, to_type="Offered")(cents)
    projection = prices("Offered")
    projection.on("Priced", key="data.sku")(lambda row, event: row)
    with pytest.raises(InvalidProjection, match="make events of several keys of 'PriceSet'"):
        Registry([projection])
    projection.on("PriceSet", key="data.sku")(lambda row, event: row)
    Registry([projection])


# -- poison ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upcaster", "reason"),
    [
        (lambda event: event.data["pounds"], "KeyError: 'pounds'"),
        (lambda event: None, "expected a dict, the data of version 2 of Priced, got null"),
        (lambda event: event, "of version 2 of Priced, got an Event"),
        (lambda event: sys.exit(), "SystemExit"),
    ],
)
def test_an_event_that_an_upcaster_cannot_take_is_poison(
    upcaster: Callable[[Event], Any], reason: str
) -> None:
    upcast("Priced", from_version=1)(upcaster)
    with pytest.raises(PoisonEvent) as caught:
        prices().fold([event("Priced", {"price": 1})])
    assert "upcaster '<lambda>' (Priced, from version 1)" in caught.value.reason
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("version", "got"),
    [
        (0, "a whole number"),
        (True, "true"),
        (1.5, "a number that is not whole"),
        ("secret", "a text of 6 characters"),
        ({}, "an object of 0 fields"),
        (2**31, "a whole number of 32 bits"),
    ],
)
def test_a_schema_version_that_is_none_is_poison(version: Any, got: str) -> None:
    upcast("Priced", from_version=1)(euros)
    with pytest.raises(PoisonEvent) as caught:
        prices().fold([event("Priced", {"price": 1}, schema_version=version)])
    assert "metadata.schema_version: expected a schema version" in caught.value.reason
    assert got in caught.value.reason
    assert "secret" not in str(caught.value)


# -- what is refused ---------------------------------------------------------------------------


def test_two_for_one_step_are_refused_and_one_anew_is_not() -> None:
    def made(add: str) -> Callable[[Event], dict[str, Any]]:
        return lambda event: {**event.data, "currency": add}  # as if its module were imported anew

    upcast("Priced", from_version=1)(made("EUR"))
    upcast("Priced", from_version=1)(made("USD"))
    assert folded(prices(), event("Priced", {"price": 1})) == (1.0, "USD")
    with pytest.raises(InvalidProjection, match=r"'Priced' has an upcaster from version 1 already"):
        upcast("Priced", from_version=1)(euros)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"from_version": 0}, "from_version: expected a whole number from 1, got 0"),
        ({"from_version": "1"}, "from_version: expected a whole number from 1, got '1'"),
        ({"from_version": True}, "from_version: expected a whole number from 1, got True"),
        ({"from_version": 2, "to_version": 2}, "expected a to_version above 2, got 2"),
        ({"from_version": 1, "to_type": ""}, "to_type: expected an event type"),
        ({"from_version": 1, "version_at": "stream_id"}, "version_at: expected a path such as"),
    ],
)
def test_a_step_that_leads_nowhere_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidProjection, match=said):
        upcast("Priced", **arguments)


def test_a_function_that_waits_is_refused() -> None:
    async def waits(event: Event) -> dict[str, Any]:
        return {}

    with pytest.raises(InvalidProjection, match="expected a plain function"):
        upcast("Priced", from_version=1)(waits)  # type: ignore[type-var]


def test_a_circle_is_refused() -> None:
    upcast("A", from_version=1, to_type="B")(cents)
    with pytest.raises(InvalidProjection, match="lead back to it"):
        upcast("B", from_version=1, to_type="A")(euros)


def test_two_places_of_the_version_are_refused() -> None:
    upcast("Priced", from_version=1)(cents)
    with pytest.raises(InvalidProjection, match=r"'metadata.schema_version' and 'data.v'"):
        upcast("Priced", from_version=2, version_at="data.v")(euros)


def test_a_gap_is_refused_where_the_type_is_read() -> None:
    upcast("Priced", from_version=1)(cents)
    upcast("Priced", from_version=3)(euros)
    projection = prices()
    for checked in (lambda: projection.fold([]), lambda: Registry([projection])):
        with pytest.raises(InvalidProjection, match=r"@upcast\('Priced', from_version=2\)"):
            checked()
    prices("Other").fold([])


def test_events_are_not_led_away_from_their_handler_in_silence() -> None:
    upcast("PriceSet", from_version=1, to_type="Priced")(cents)
    with pytest.raises(InvalidProjection, match="upcasters make Priced of 'PriceSet': expected a"):
        Registry([prices("PriceSet")])
    Registry([prices("PriceSet", "Priced")])
