"""Predicates: what is refused and where, what is bounded, what happens at an event."""

from __future__ import annotations

import time

import pytest

from refold.errors import InvalidRequest, PredicateFailed
from refold.predicates import parse_predicate
from refold.predicates.checks import MAX_LENGTH
from refold.predicates.parser import MAX_DEPTH
from tests.support.orders import event

# -- what is refused ---------------------------------------------------------------------------

REFUSED = [
    ("", 1, 1, "a value is missing"),
    ("  // nothing", 1, 13, "a value is missing"),
    ("event.type ==", 1, 14, "a value is missing"),
    ('event.type.startsWith("Order" &&', 1, 33, "a value is missing"),
    ('event.type.startsWith("Order"', 1, 30, "',' is missing"),
    ('event.type = "A"', 1, 12, "no word of CEL"),
    ('event.type == "A', 1, 15, "a text that does not end"),
    ('event.type == "A" &&\n  event.typ == "B"', 2, 3, "no field of an event"),
    ('event.type == "A"\n\n && nothing', 3, 5, "no variable 'nothing'"),
    ("event.data.n is 5", 1, 14, "an operator or the end is missing"),
    ("event.data.in == 1", 1, 12, "the name of a field or function is missing"),
    ("event.data.`a` == 1", 1, 12, "no word of CEL"),
    (".event.data.n == 1", 1, 1, "a value is missing"),
    ("event.data.?a == 1", 1, 12, "the name of a field or function is missing"),
    ('event["type"] == "A"', 1, 1, "no field of an event"),
    ("event == 1", 1, 1, "no field of an event"),
    ("event.type.name == 1", 1, 1, "event.type has no fields of its own"),
    ("event.recorded_at[0] == 1", 1, 1, "event.recorded_at has no fields"),
    ("exec(event.type)", 1, 1, "no function 'exec'"),
    ("event.data.a.format(1) == 1", 1, 1, "no function 'format'"),
    ('event.type.matches("a", "b")', 1, 1, "matches is used otherwise"),
    ('startsWith(event.type, "a")', 1, 1, "startsWith is used otherwise"),
    ('event.type.matches("(")', 1, 20, "matches cannot take this"),
    ("event.type.matches(event.data.p)", 1, 20, "a pattern must be written out"),
    ('event.type.matches("\\\\w{1000}")', 1, 20, "matches cannot take this"),
    (" || ".join(['event.type.matches("\\\\w{40}")'] * 2), 1, 1, "its patterns cost"),
    ('event.recorded_at > timestamp("2024-01-01")', 1, 31, "timestamp cannot take this"),
    ("event.data.l.all(1, true)", 1, 18, "a name for a variable is missing"),
    ("event.data.l.all(x)", 1, 14, "all(variable, expression) has other arguments"),
    ("event.data.l.all(event, true)", 1, 1, "a macro's variable hides event"),
    ("event.data.l.all(x, true) && x", 1, 30, "no variable 'x'"),
    ("has(event)", 1, 1, "has(…) asks for a field"),
    ('has(event.data["a"])', 1, 1, "has(…) asks for a field"),
    ("event.data.n == 9223372036854775808", 1, 17, "no number that CEL can hold"),
    ('event.data.s == "\\q"', 1, 17, "no text that CEL can hold"),
    ("{event.type: 1}.a == 1", 1, 2, "a map's key must be a text"),
    ("1", 1, 1, "neither true nor false"),
    ('event.type == "A" && "B"', 1, 22, "neither true nor false"),
    ("event.type", 1, 1, "neither true nor false"),
    ("!event.position", 1, 2, "neither true nor false"),
    ("event.data.n + 1", 1, 1, "neither true nor false"),
    ("event.data.l.map(x, x)", 1, 1, "neither true nor false"),
    ("event.type ? true : false", 1, 1, "neither true nor false"),
    ("event.data.l.all(x, x.size())", 1, 21, "neither true nor false"),
    ('event.type == "\ud800"', 1, 16, "half a character"),
    ("event.data.l.all(if, true)", 1, 18, "reserved identifier"),
]


@pytest.mark.parametrize(("text", "line", "column", "reason"), REFUSED, ids=range(len(REFUSED)))
def test_a_bad_predicate_is_refused_with_its_place(
    text: str, line: int, column: int, reason: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_predicate(text)
    message = str(refused.value)
    assert message.startswith(f"predicate: line {line}, column {column}: {reason}"), message
    assert ", got '" in message
    assert ": expected " in message


BEYOND = [
    ("true || " * 501 + "true", f"at most {MAX_LENGTH} characters"),
    ("(" * 1000 + "true" + ")" * 1000, f"at most {MAX_DEPTH} deep"),
    ("!" * 3000 + "true", f"at most {MAX_DEPTH} deep"),
    ("[" * 3000, f"at most {MAX_DEPTH} deep"),
    ("-" * 3000 + "1 == 1", f"at most {MAX_DEPTH} deep"),
    ("1" + " + 1" * 900 + " == 1", f"at most {MAX_DEPTH} deep"),
    ("event" + ".data" * 700, f"at most {MAX_DEPTH} deep"),
    ("event.data" + "[0]" * 900, f"at most {MAX_DEPTH} deep"),
    ("true ? true : " * 280 + "true", f"at most {MAX_DEPTH} deep"),
    ("size(" * 600, f"at most {MAX_DEPTH} deep"),
    ('{"a": ' * 600, f"at most {MAX_DEPTH} deep"),
    ('["a"]' + ".map(x, x + x)" * 200 + " == []", f"at most {MAX_DEPTH} deep"),
    ("[1].all(x, [1].all(y, [1].all(z, true)))", "at most 2 macros in one another"),
    ("[1].all(x, [1].map(y, [1].filter(z, true)) == [])", "at most 2 macros"),
]


@pytest.mark.parametrize(("text", "bound"), BEYOND, ids=range(len(BEYOND)))
def test_what_is_beyond_a_bound_is_refused_at_once(text: str, bound: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequest, match=bound) as refused:
        parse_predicate(text)
    assert time.monotonic() - began < 2
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH - 1) + "true" + ")" * (MAX_DEPTH - 1),
        "1" + " + 1" * (MAX_DEPTH - 2) + f" == {MAX_DEPTH - 1}",
        "!" * (MAX_DEPTH - 2) + "true",
        "true || " * 490 + "true",
        "[1]" + ".map(x, x + 1)" * 20 + " == [21]",
    ],
)
def test_what_is_just_within_the_bounds_works(text: str) -> None:
    assert parse_predicate(text).matches(event())


# -- what happens at an event ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('event.data.n + "a" == "b"', "the types or values do not fit, as event.data.n is a num"),
        ("event.data.s > 5", "event.data.s is a text ('x')"),
        ("event.data.n / 0 == 1", "division by zero"),
        ("event.data.n * 9223372036854775807 > 1", "a number is too large"),
        ("event.data.n", "expected true or false, got a number (5)"),
        ("event.data.n && true", "expected true or false, got a number (5)"),
        ("event.data.n.all(x, true)", "expected a list for all(…), got a number (5)"),
        ("event.data.s[event.data.l] == 1", "expected a number or a text in […], got a list"),
        ("size(event.data.n) == 1", "expected a text, list or map for size(…)"),
        ("event.data.l.all(x, x > 0)", "x is a text ('b')"),
    ],
)
def test_what_cannot_be_worked_out_names_the_event(text: str, reason: str) -> None:
    with pytest.raises(PredicateFailed) as failed:
        parse_predicate(text).matches(event({"n": 5, "s": "x", "l": [1, "b"]}))
    assert (failed.value.position, failed.value.event_type) == (7, "OrderPlaced")
    assert failed.value.stream_id == "order-1"
    assert not failed.value.retryable
    assert "event 7 (OrderPlaced of stream 'order-1')" in str(failed.value)
    assert reason in failed.value.reason


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.data.none == 1 || true", True),
        ("true || event.data.s > 5", True),
        ("event.data.s > 5 || true", True),
        ("event.data.s > 5 && false", False),
        ("event.data.s > 5 && event.data.none == 1", False),
        ("event.data.none == 1 ? true : true", False),
        ("event.data.l.exists(x, x > 0)", True),
        ("event.data.l.all(x, x > 1)", False),
        ("event.data.o.all(x, x.a == 1)", False),
        ("event.data.o.exists(x, x.a == 1)", True),
        ("!event.data.o.exists(x, x.a == 2)", False),
        ("event.data.o.filter(x, x.a == 1).size() == 1", True),
        ("event.data.o.exists_one(x, x.a == 1)", True),
        ("event.data.o.map(x, x.a) == [1]", False),
        ("event.data.o.map(x, has(x.a), x.a) == [1]", True),
        ("event.data.o[0].a == 1 && event.data.o[event.data.n - 5].a == 1", True),
        ("event.data.o[-1].a == 1 || event.data.o[9].a == 1", False),
        ("event.data.o.filter(x, has(x.a))[0].a == 1", True),
        ('event.data.o[0].exists(key, key == "a")', True),
        ("event.data.l.all(x, [1].all(x, x == 1))", True),
        ('size("é😀") == 2 && [1, 2].size() == 2 && size({"a": 1}) == 1', True),
        ('event.recorded_at + duration("24h") == timestamp("2024-01-02T00:00:00Z")', True),
        ('b"abc" == bytes("abc") && int("5") == event.data.n && string(5) == "5"', True),
    ],
)
def test_what_is_missing_decides_nothing(text: str, expected: bool) -> None:
    data = {"n": 5, "s": "x", "l": [1, "b"], "o": [{"a": 1}, {"b": 2}]}
    assert parse_predicate(text).matches(event(data)) is expected
