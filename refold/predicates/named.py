"""Predicates that are Python functions, known by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from refold.errors import HandlerInterrupted, InvalidProjection, PredicateFailed
from refold.errors.words import described, raised
from refold.event import Event

_NAME = re.compile(r"[a-z][a-z0-9-]*")

PredicateFunction = Callable[[Event], bool]


@dataclass(frozen=True)
class NamedPredicate:
    """A pure function that says of each event whether it is meant.

    Attributes:
        name: What requests call it by.
        function: Given one event; must not change anything, and take as little time as a handler.
    """

    name: str
    function: PredicateFunction = field(repr=False)

    def matches(self, event: Event) -> bool:
        """Whether the event is meant.

        Raises:
            PredicateFailed: The function raises, or returns something else than True or False.
        """
        try:
            result: object = self.function(event)
        except HandlerInterrupted:
            raise
        except BaseException as error:  # `exit()` in it is no end of ours
            raise PredicateFailed.of(self.name, event, raised(error)) from error
        if not isinstance(result, bool):
            raise PredicateFailed.of(
                self.name, event, f"expected True or False, got {_shown(result)}"
            )
        return result

    def __call__(self, event: Event) -> bool:
        """The function itself."""
        return self.function(event)


def predicate(name: str) -> Callable[[PredicateFunction], NamedPredicate]:
    """Makes the decorated function a predicate that requests can name.

    It must be found where projections are: in a module that REFOLD_PROJECTIONS names.

    Args:
        name: Small letters, digits and hyphens, a letter first.

    Raises:
        InvalidProjection: The name is another, or the function is async.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidProjection(
            "predicate(): expected a name of small letters, digits and hyphens, such as "
            f'@predicate("large-orders"), got {name!r}'
        )

    def register(function: PredicateFunction) -> NamedPredicate:
        called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004
        if not callable(function) or _is_async(function) or _is_async(called):
            raise InvalidProjection(
                f"predicate {name!r}: expected a plain function of one event, got {function!r}: "
                "it runs for each event, and may not wait for anything"
            )
        return NamedPredicate(name, function)

    return register


def _is_async(function: object) -> bool:
    return (
        inspect.iscoroutinefunction(function)
        or inspect.isasyncgenfunction(function)
        or inspect.isgeneratorfunction(function)
    )


def _shown(result: object) -> str:
    return "None" if result is None else described(result)
