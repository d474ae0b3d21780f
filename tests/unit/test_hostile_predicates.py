"""Hostile predicates and events: each ends soon, in little memory, and not the process."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import pytest

from refold.errors import PredicateFailed
from refold.predicates import parse_predicate
from tests.support.orders import event

ITEMS = list(range(100_000))
HUGE = {"l": ITEMS, "o": [{"a": n} for n in ITEMS], "s": "a" * 10_000_000}

HOSTILE = [
    "event.data.l.all(x, event.data.l.all(y, y >= 0))",
    "event.data.l.all(x, event.data.l.exists(y, y == x))",
    "event.data.l.all(x, x in event.data.l)",
    "event.data.l.map(x, event.data.l.map(y, x)).size() == 1",
    "event.data.l.all(x, !event.data.s.contains(string(x)))",
    "event.data.l.all(x, " + " && ".join(["!has(x.a)"] * 300) + ")",
    'event.data.l.all(x, !string(x).matches("^\\\\w{8}"))',
    '["a"]' + ".map(x, x + x)" * 24 + ".size() == 2",
    f"{[1] * 900}.all(x, {[1] * 900}.all(y, x == y))".replace(" ", ""),
    "event.data.s" + " + event.data.s" * 20 + ' == "a"',
]


# Of three ways to go round in rings, the suite takes one.
IN_RINGS = (1, 8)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=str(number), marks=pytest.mark.soak if number in IN_RINGS else ())
        for number, text in enumerate(HOSTILE)
    ],
)
def test_a_hostile_predicate_ends_soon_in_little_memory(text: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = parse_predicate(text)
    began = time.monotonic()
    with pytest.raises(PredicateFailed, match="more than 1,000,000 steps"):
        made.matches(event(HUGE))
    assert time.monotonic() - began < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300 * 1024, "in KiB"


@pytest.mark.parametrize(
    "text",
    [
        "event.data.l.all(x, x >= 0)",
        "event.data.o.exists(x, x.a == 99999)",
        "event.data.l.filter(x, x < 10).size() == 10",
        'event.data.s != "a" && !event.data.s.contains("b")',
        "event.data.l != 5",
    ],
)
def test_one_macro_over_a_hundred_thousand_items_is_fine(text: str) -> None:
    assert parse_predicate(text).matches(event(HUGE))


def test_deeply_nested_data_does_not_end_the_process() -> None:
    """A library that calls itself at each level overflows the stack, which no one can catch."""
    program = """
import json, threading
from datetime import UTC, datetime
from refold.errors import PredicateFailed
from refold.event import Event
from refold.predicates import parse_predicate

def outcome(text, depth):
    data = {"d": json.loads("[" * depth + "]" * depth)}
    event = Event(1, "s", 1, "T", data, {}, datetime.now(UTC))
    try:
        return parse_predicate(text).matches(event)
    except PredicateFailed as failed:
        return failed.reason

def run():
    for text in ["event.data.d in [event.data.d]", "event.data.d == 1"]:
        print([outcome(text, depth) for depth in (100, 101, 900)])

threading.stack_size(512 * 1024)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    deep = "a value is nested more than 100 deep"
    assert done.stdout.splitlines() == [str([True, deep, deep]), str([False, False, False])]


def test_the_library_is_imported_with_the_first_predicate() -> None:
    program = "import sys, refold.projection.registry; sys.exit('cel' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
