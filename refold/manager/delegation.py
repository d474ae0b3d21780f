"""Methods of a class that a part of it carries out, with the part's signature and docstring."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

Part = TypeVar("Part")
P = ParamSpec("P")
R = TypeVar("R")


class Delegate(Generic[Part]):
    """Makes a method of a part a method of the class that holds the part.

    The contract of a method is then written once, at the part.

    Args:
        attribute: What the class that holds the part calls it.
    """

    def __init__(self, attribute: str) -> None:
        self._attribute = attribute

    def __call__(
        self, method: Callable[Concatenate[Part, P], Coroutine[Any, Any, R]]
    ) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]:
        """A method for the class: it awaits the part's, with the same arguments."""
        attribute = self._attribute

        @wraps(method)
        async def delegated(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            return await method(getattr(self, attribute), *args, **kwargs)

        return delegated
