"""Predicates that are functions with a name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from refold import predicate
from refold.errors import InvalidProjection, InvalidRequest, PredicateFailed
from refold.event import Event
from refold.predicates import NamedPredicate
from refold.projection.registry import Registry, load_registry
from tests.support.orders import event


def test_a_function_becomes_a_predicate() -> None:
    @predicate("large-orders")
    def large_orders(event: Event) -> bool:
        return bool(event.data["total"] > 100)

    assert isinstance(large_orders, NamedPredicate)
    assert large_orders.name == "large-orders"
    assert large_orders.matches(event({"total": 101}))
    assert not large_orders(event({"total": 100}))
    with pytest.raises(PredicateFailed, match=r"'large-orders' fails for event 7 .* KeyError"):
        large_orders.matches(event())


def test_a_function_must_say_true_or_false() -> None:
    made = predicate("odd")(lambda event: event.data.get("n"))  # type: ignore[arg-type,return-value]
    with pytest.raises(PredicateFailed, match="expected True or False, got None"):
        made.matches(event())


@pytest.mark.parametrize("name", ["", "Large", "1st", "a_b", "-a", "a b", "é", "a\n", 5])
def test_a_bad_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidProjection, match="small letters, digits and hyphens"):
        predicate(name)


async def waits(event: Event) -> bool:
    return True


async def waits_often(event: Event) -> AsyncIterator[bool]:
    yield True


def yields(event: Event) -> Iterator[bool]:
    yield True


class Waits:
    async def __call__(self, event: Event) -> bool:
        return True


@pytest.mark.parametrize(
    "function",
    [waits, waits_often, yields, Waits(), 5],
    ids=lambda one: type(one).__name__ + getattr(one, "__name__", ""),
)
def test_a_function_that_waits_is_refused(function: Any) -> None:
    with pytest.raises(InvalidProjection, match="expected a plain function of one event"):
        predicate("waits")(function)


def always(name: str) -> NamedPredicate:
    made: Callable[[Event], bool] = lambda event: True  # noqa: E731
    return predicate(name)(made)


def test_the_registry_knows_predicates_by_name() -> None:
    one, other = always("one"), always("other")
    registry = Registry(predicates=[one, other, one])
    assert registry.predicate("one") is one
    with pytest.raises(InvalidRequest, match=r"expected one of \(one, other\), got 'third'"):
        registry.predicate("third")
    with pytest.raises(InvalidRequest, match="none: no module has a @predicate"):
        Registry().predicate("one")


def test_two_predicates_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidProjection, match="two predicates are named 'one'"):
        Registry(predicates=[always("one"), always("one")])


def test_predicates_are_found_in_modules() -> None:
    assert load_registry([__name__]).predicate("found-here") is found_here


found_here = always("found-here")
