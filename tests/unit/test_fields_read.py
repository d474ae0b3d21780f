"""What is found to be read of events is never less than what handlers read, whatever their shape.

Each function is run with an event that notes what is asked of it.
"""

from __future__ import annotations

import linecache
import textwrap
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from types import FunctionType
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from refold.projection.narrowed.reads import ALL, fields_read
from refold.projection.narrowed.sequence_reads import fields_read_of_each
from tests.support.handler_shapes import (
    EVENT,
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
    return function_of(
        f"{start}{_HELP}def handler(row, event):\n    inner = str\n{body}\n    return None\n"
    )


def function_of(text: str) -> FunctionType:
    """The function `handler` of this code, in a file of its own."""
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


# -- many events at once -------------------------------------------------------------------------

_OF_MANY = [
    "for event in events:\n    {s}",
    "for event in events:\n    {s}\nelse:\n    {s}",
    "for event in events: pass\n{s}",
    "event = events[-1]\n{s}",
    "event = events[0]\nfor event in events:\n    {s}",
    "for event in events:\n    for event in [event]:\n        {s}",
    "for n, event in enumerate(events):\n    {s}",
    "for event in iter(events):\n    {s}",
    "for event in events[:1]:\n    {s}",
    "for event, in [events]:\n    {s}",
    "event, *_ = events\n{s}",
    "event = events[len(events) - 1]\n{s}",
    "event = events[0] if events[0].{f} else None\n{s}",
    "found = events[0].{f}",
    "found = events[-1].data, events[0].{f}",
    "found = [e.{f} for e in events]",
    "found = [e for e in events]",
    "found = [e.type for e in events if e.{f}]",
    "found = sum(1 for e in events for f in [e] if f.{f})",
    "found = [help_{f}(e) for e in events], help_{f}(events[0])",
    "found = help_{f}(*events[:1])",
    "found = list(map(help_{f}, events))",
    "found = events",
    "found = sorted(events)",
    "found = len(events)",
    "def inner():\n    for e in events:\n        e.{f}\ninner()",
    "def inner(events):\n    for e in events:\n        e.{f}\ninner(events)",
    "found = (lambda e=events[0]: e.{f})()",
    "(e := events[0]).{f}",
    "e: object = events[0]\ne.{f}",
    "match events:\n    case [e]: e.{f}",
    "len = list\nfound = len(events)",
    "e = found = events[0]\nfound.{f}",
    "while events:\n    event = events[0]\n    {s}\n    break",
]
OF_MANY = st.tuples(st.sampled_from(_OF_MANY), STATEMENTS, FIELDS).map(
    lambda drawn: drawn[0].replace("{f}", drawn[2]).replace("{s}", drawn[1])
)


@given(st.lists(OF_MANY, min_size=1, max_size=2))
def test_of_many_events_it_is_never_too_little(pieces: list[str]) -> None:
    body = textwrap.indent("\n".join(pieces), "    ")
    start = f"from contextlib import suppress\n{_HELP}"
    text = f"{start}def handler(row, events):\n    inner = str\n{body}\n"
    try:
        handler = function_of(text)
    except SyntaxError:
        assume(False)
    found = fields_read_of_each(handler)
    Noting.asked = set()
    with suppress(Exception):
        handler(None, [Noting(*EVENT)])
    assert Noting.asked - {"position", "stream_id", "type"} <= found, text


def _folds(row: Any, events: Any) -> Any:
    last = events[-1]
    seen = {"n": len(events), "at": last.recorded_at, "first": events[0].position}
    for event in events:
        seen["n"] += event.data["n"] if event.type == "Seen" else _version(event)
    return seen | {"by": [e.stream_id for e in events if e.position > 2]}


def _version(event: Any) -> int:
    return int(event.version)


def _keeps(row: Any, events: Any) -> Any:
    return {"events": events}


def test_what_many_events_are_read_for_is_found() -> None:
    optional = fields_read_of_each(_folds) - {"position", "stream_id", "type"}
    assert optional == {"data", "recorded_at", "version"}
    assert fields_read_of_each(_keeps) == ALL
    assert fields_read_of_each(lambda row, events: [e.data for e in events]) == ALL
