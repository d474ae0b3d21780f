"""What a handler must look like; and one that never returns a row, which deletes each."""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

from refold.errors import InvalidProjection
from refold.errors.words import defined_at


class NoRowReturned(UserWarning):
    """A handler without a `return`: it deletes the row of each event that it is given."""


def require_handler(
    projection: str, handler: Callable[..., Any], what: str = "handler", event: str = "event"
) -> None:
    """Requires a function of a row and an event, and warns of one that never returns anything.

    Args:
        projection: Its name, for errors.
        handler: What was declared.
        what: What it is, for errors.
        event: What its second argument is.

    Raises:
        InvalidProjection: It is no function of two arguments, is asynchronous, or yields.
    """
    named = f"{projection}: {what} {getattr(handler, '__name__', type(handler).__name__)!r}"
    if not callable(handler):
        raise InvalidProjection(f"{named}: expected a function, got a {type(handler).__name__}")
    if inspect.iscoroutinefunction(handler) or inspect.isasyncgenfunction(handler):
        raise InvalidProjection(
            f"{named}: expected a plain function, got an async one: handlers are pure"
        )
    if inspect.isgeneratorfunction(handler):
        raise InvalidProjection(
            f"{named}: expected a function that returns the row after the event, got one that "
            "yields: it has one row; a key function may name several keys"
        )
    require_parameters(named, handler, "row", event)
    if _never_returns(handler):
        _warn(named, handler)


def require_parameters(named: str, function: Callable[..., Any], *given: str) -> None:
    """Requires that a function can be called with so many arguments in order.

    Raises:
        InvalidProjection: It cannot; the message begins with `named`.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # of a builtin, nothing is known
        return
    try:
        signature.bind(*given)
    except TypeError:
        raise InvalidProjection(
            f"{named}: expected a function of ({', '.join(given)}), got one of {signature}"
        ) from None


def _never_returns(handler: Callable[..., Any]) -> bool:
    """Whether a function ends without a word on what the row is; `None`, written out, is one."""
    function = inspect.unwrap(handler)
    if not isinstance(function, FunctionType) or function.__name__ == "<lambda>":
        return False
    # Most return something; only of others the source is read.
    if function.__annotations__.get("return", "") in (None, "None") or not _returns_none(function):
        return False
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError, TypeError):  # there is no source to look at
        return False
    written = (one for one in ast.walk(tree) if isinstance(one, ast.Return))
    return not any(one.value is not None for one in written)


def _returns_none(function: FunctionType) -> bool:
    """Whether it returns at all, and nothing but None, as its instructions have it."""
    before, found = None, False
    for one in dis.get_instructions(function):
        if one.opname in ("RETURN_VALUE", "RETURN_CONST"):
            made = one if one.opname == "RETURN_CONST" else before
            if made is None or made.opname not in _CONSTANT or made.argval is not None:
                return False
            found = True
        before = one
    return found


_CONSTANT = ("LOAD_CONST", "RETURN_CONST")


def _warn(named: str, handler: Callable[..., Any]) -> None:
    code = inspect.unwrap(handler).__code__
    warnings.warn_explicit(
        f"{named} ({defined_at(handler)}) has no `return` with a row: it deletes the row of each "
        "event that it is given. End it with `return row`, or with `return None` where it is to "
        "delete",
        NoRowReturned,
        code.co_filename,
        code.co_firstlineno,
    )
