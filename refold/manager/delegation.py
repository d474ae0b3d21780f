"""Methods of a class that a part of it carries out, with the part's signature and docstring."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import signature
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
        """A method for the class: it awaits the part's, with the same arguments.

        If it is about a projection, there must be one of that name.
        """
        attribute = self._attribute
        parameters = list(signature(method).parameters)
        place = parameters.index("name") - 1 if "name" in parameters else None

        @wraps(method)
        async def delegated(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
            name = kwargs.get("name")
            if place is not None and len(args) > place:
                name = args[place]
            if isinstance(name, str):
                await self.require_known(name)
            return await method(getattr(self, attribute), *args, **kwargs)

        return delegated
