"""The examples of the reference that need no server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import getmembers, isfunction
from types import ModuleType

import pytest

from examples.api import asking, declaring, testing
from refold.projection.reading.upcasting import UPCASTERS


def own(*modules: ModuleType) -> Iterator[Callable[[], None]]:
    for module in modules:
        for name, function in getmembers(module, isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                yield function


@pytest.mark.parametrize(
    "example", [*own(asking, declaring, testing)], ids=lambda one: one.__name__
)
def test_the_example_runs(example: Callable[[], None]) -> None:
    with UPCASTERS.set_apart():
        example()
