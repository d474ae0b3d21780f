"""What is found to be read of events is never less than what handlers read, whatever their shape.

Each function is run with an event that notes what is asked of it.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from itertools import count
from types import FunctionType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.projection.narrowed.reads import ALL, fields_read
from tests.support.handler_shapes import (
    EXACT,
    LAMBDA,
    OTHERS,
    Noting,
    passes_by_name,
    really_read,
    unpacked,
)


def _name(handler: Any) -> str:
    return getattr(handler, "__name__", type(handler).__name__)


@pytest.mark.parametrize("handler", EXACT, ids=_name)
def test_what_is_read_is_found(handler: Callable[..., Any]) -> None:
    optional = fields_read([handler]) - {"position", "stream_id", "type"}
    assert optional == EXACT[handler]
    assert really_read(handler, None) <= optional


@pytest.mark.parametrize("handler", OTHERS, ids=_name)
def test_what_goes_out_of_sight_is_read_whole(handler: Callable[..., Any]) -> None:
    assert fields_read([handler]) == ALL


def test_what_several_handlers_read_is_added() -> None:
    assert fields_read([LAMBDA, passes_by_name]) == {"data", "recorded_at"}
    assert fields_read([LAMBDA, unpacked]) == ALL


# -- any code ------------------------------------------------------------------------------------

FIELDS = st.sampled_from(sorted(ALL))
_PIECES = [
    "event.{f}",
    "(lambda: event.{f})()",
    "(lambda e=event: e.{f})()",
    "(lambda event: event.{f})(event)",
    "[event.{f} for _ in 'ab']",
    "[event.{f} for event in [event]]",
    "next(event.{f} for _ in 'a')",
    "(x := event.{f})",
    "(x := event).{f}",
    "f'{{event.{f}}}'",
    "f'{{event}}'",
    "getattr(event, '{f}')",
    "event._asdict()['{f}']",
    "{{**event._asdict()}}",
    "help_{f}(event)",
    "help_{f}(event=event)",
    "help_{f}(*[event])",
    "help_{f}(**{{'event': event}})",
    "[event][0].{f}",
    "(event if event.{f} else event)",
    "locals()['event'].{f}",
    "event[2]",
    "[*event]",
    "(event, 1)[0].{f}",
    "str(event)",
    "event == 1",
    "inner()",
]
_STATEMENTS = [
    "found = {e}",
    "if {e}: found = {e2}",
    "try:\n        found = {e}\n    except TypeError:\n        found = {e2}",
    "try:\n        found = {e}\n    finally:\n        found = {e2}",
    "for _ in range(2): found = {e}",
    "match {e}:\n        case {{'n': n}}: found = n\n        case other: found = {e2}",
    "with suppress(Exception):\n        found = {e}",
    "def inner(): return {e}",
    "def inner(event=event): return {e}",
    "event = {e} and event",
    "class C: found = {e}",
]
PIECES = st.tuples(st.sampled_from(_PIECES), FIELDS).map(lambda p: p[0].format(f=p[1]))
STATEMENTS = st.tuples(st.sampled_from(_STATEMENTS), PIECES, PIECES).map(
    lambda s: s[0].format(e=s[1], e2=s[2])
)
_HELP = "".join(f"def help_{name}(event): return event.{name}\n" for name in sorted(ALL))
_files = count()


def handler_of(statements: list[str]) -> FunctionType:
    """A handler of these statements, in a file of its own."""
    body = "\n".join(f"    {statement}" for statement in statements)
    start = "from contextlib import suppress\n"
    text = f"{start}{_HELP}def handler(row, event):\n    inner = str\n{body}\n    return None\n"
    name = f"<handlers {next(_files)}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    exec(compile(text, name, "exec", dont_inherit=True), space)
    found: FunctionType = space["handler"]
    return found


@given(st.lists(STATEMENTS, min_size=1, max_size=3))
def test_what_is_found_is_never_too_little(statements: list[str]) -> None:
    handler = handler_of(statements)
    found = fields_read([handler])
    asked: set[str] = set()
    try:
        asked = really_read(handler, None)
    except Exception:
        asked = Noting.asked - {"position", "stream_id", "type"}
    assert asked <= found, statements
