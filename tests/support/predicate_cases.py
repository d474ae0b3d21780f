"""Events by name, and predicates with the events that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)

# Each event is the only one of a stream that names it. The data is JSON as it is written.
BODIES = {
    "empty": "{}",
    "null": '{"n": null, "s": null, "b": null, "l": null, "m": null}',
    "five": '{"n": 5}',
    "five-point": '{"n": 5.0}',
    "five-text": '{"n": "5", "s": "5"}',
    "almost-five": '{"n": 5.00000000000000000001}',
    "barely-five": '{"n": 4.99999999999999999999}',
    "six": '{"n": 6}',
    "minus": '{"n": -5.5}',
    "zero": '{"n": 0}',
    "minus-zero": '{"n": -0.0}',
    "tiny": '{"n": 1e-400}',
    "large": '{"n": 9007199254740993}',
    "largest": '{"n": 18446744073709551615}',
    "beyond": '{"n": 100000000000000000000000000000}',
    "exponent": '{"n": 1e300}',
    "list-number": '{"n": [5]}',
    "map-number": '{"n": {"x": 5}}',
    "true": '{"b": true, "n": true}',
    "false": '{"b": false, "n": false}',
    "true-text": '{"b": "true"}',
    "one": '{"b": 1}',
    "blank": '{"s": ""}',
    "percent": '{"s": "100%_of/it\\\\"}',
    "percentless": '{"s": "100xyof/it\\\\"}',
    "quotes": '{"s": "it\'s \\"quoted\\""}',
    "unicode": '{"s": "é😀"}',
    "decomposed": '{"s": "e\\u0301"}',
    "upper": '{"s": "B"}',
    "lower": '{"s": "a"}',
    "odd-key": '{"é\\"\'%": 1, "a.b": 2, "0": 3}',
    "nested": '{"m": {"a": {"b": 1, "null": null}}, "l": [1, 2, [3]]}',
    "nested-text": '{"m": {"a": "b"}, "l": ["0", {"q": 5}]}',
    "items": '{"l": [{"q": 1, "p": "x"}, {"q": 5}, {}]}',
    "items-bad": '{"l": [{"q": 1}, {"q": "many"}]}',
    "no-items": '{"l": []}',
}
NUMBERS = ["zero", "minus-zero", "tiny", "minus", "barely-five", "five", "five-point"]
NUMBERS += ["almost-five", "six", "large", "largest", "beyond", "exponent"]
FIVES = ["barely-five", "five", "five-point", "almost-five"]
ABOVE = ["six", "large", "largest", "beyond", "exponent"]
NO_NUMBERS = ["null", "five-text", "list-number", "map-number", "true", "false"]
WITH_N = [*NUMBERS, *NO_NUMBERS]
TEXTS = ["five-text", "blank", "percent", "percentless", "quotes", "unicode", "decomposed"]
TEXTS += ["upper", "lower"]
ALL = list(BODIES)
NONE: list[str] = []


def but(names: Sequence[str], *without: str) -> list[str]:
    return [name for name in names if name not in without]


class Case(NamedTuple):
    """A predicate, the events that it means, those for which it fails, and whether SQL decides."""

    text: str
    meant: list[str]
    failing: list[str] = NONE
    exact: bool = True


CASES = [
    Case("true", ALL),
    Case("false", NONE),
    Case("true ? true : false", ALL, exact=False),
    # The event's own fields.
    Case('event.type == "Percent"', ["percent"]),
    Case('event.type != "Percent"', but(ALL, "percent")),
    Case('event.type.startsWith("Percent")', ["percent", "percentless"]),
    Case('event.type.endsWith("less") || event.type.contains("ullN")', ["percentless"]),
    Case('event.type.startsWith("%") || event.type.contains("_")', NONE),
    Case('event.type.startsWith("")', ALL),
    Case('event.type < "C"', [n for n in ALL if n[0] in "ab"]),
    Case('"C" > event.type', [n for n in ALL if n[0] in "ab"]),
    Case('event.type in ["Six", "Zero", "Nothing"]', ["six", "zero"]),
    Case('event.stream_id == "six" && event.version == 1', ["six"]),
    Case("event.position <= 2", ["empty", "null"]),
    Case("2 >= event.position && event.position != 1", ["null"]),
    Case("event.position in [1, 3, 99]", ["empty", "five"]),
    Case("event.position > 1.5 && event.position < 2.5", ["null"], exact=False),
    Case("event.position % 2 == 1 && event.position < 4", ["empty", "five"], exact=False),
    Case('event.type == 5 || event.type > "zz"', NONE, exact=False),
    Case("event.type > 5", NONE, ALL, exact=False),
    Case('event.recorded_at == timestamp("2024-01-01T01:00:00+01:00")', but(ALL, "six")),
    Case('event.recorded_at > timestamp("2024-01-01T00:00:00.000001Z")', ["six"]),
    Case('event.recorded_at > timestamp("2024-01-01T00:00:00.0000005Z")', ["six"], exact=False),
    Case(
        'event.recorded_at - timestamp("2024-01-01T00:00:00Z") > duration("1h")',
        ["six"],
        exact=False,
    ),
    Case("event.recorded_at.getFullYear() == 2025", ["six"], exact=False),
    # Numbers.
    Case("event.data.n == 5", FIVES),
    Case("5.0 == event.data.n", FIVES),
    Case("event.data.n == 5u", FIVES),
    Case("event.data.n != 5", but(WITH_N, *FIVES)),
    Case("!(event.data.n == 5)", but(WITH_N, *FIVES)),
    Case("event.data.n == 0", ["zero", "minus-zero", "tiny"]),
    Case("event.data.n in [-5.5, 6]", ["minus", "six"]),
    Case("event.data.n == 9007199254740993", ["large"], exact=False),
    Case("event.data.n == 9007199254740992.0", ["large"], exact=False),
    Case("event.data.n == 18446744073709551615u", ["largest"], exact=False),
    Case("event.data.n == 1e29", ["beyond"], exact=False),
    Case("event.data.n > 5", ABOVE, NO_NUMBERS, exact=False),
    Case("event.data.n >= 5", [*FIVES, *ABOVE], NO_NUMBERS, exact=False),
    Case("5 > event.data.n", ["zero", "minus-zero", "tiny", "minus"], NO_NUMBERS, exact=False),
    Case("event.data.n <= 5.0", NUMBERS[:8], NO_NUMBERS, exact=False),
    Case('event.data.n > 5 && event.type == "Six"', ["six"], exact=False),
    Case(
        'event.data.n > 5 || event.type == "Null"',
        [*ABOVE, "null"],
        but(NO_NUMBERS, "null"),
        exact=False,
    ),
    Case(
        'event.data.n + 1 == 6 && event.type != "Minus"',
        ["five"],
        [*but(NUMBERS, "zero", "five", "six", "large", "minus"), *NO_NUMBERS],
        exact=False,
    ),
    # Texts.
    Case('event.data.n == "5"', ["five-text"]),
    Case('event.data.s == ""', ["blank"]),
    Case('event.data.s == "100%_of/it\\\\"', ["percent"]),
    Case("event.data.s == 'it\\'s \"quoted\"'", ["quotes"]),
    Case('event.data.s == "é😀" || event.data.s == "\\u00e9"', ["unicode"]),
    Case('event.data.s in ["e\\u0301", r"\\d", """B"""]', ["decomposed", "upper"]),
    Case('event.data.s == "\\x00"', NONE, exact=False),
    Case('event.data.s.startsWith("100%_")', ["percent"], ["null"], exact=False),
    Case(
        'event.data.s.contains("%_of/") && event.data.s.endsWith("\\\\")',
        ["percent"],
        ["null"],
        exact=False,
    ),
    Case(
        'event.data.s < "a"',
        ["five-text", "blank", "percent", "percentless", "upper"],
        ["null"],
        exact=False,
    ),
    Case('event.data.s.matches("^[0-9]+$")', ["five-text"], ["null"], exact=False),
    Case("size(event.data.s) == 2", ["unicode", "decomposed"], ["null"], exact=False),
    # Booleans and null.
    Case("event.data.b == true", ["true"]),
    Case("event.data.b != true", ["null", "false", "true-text", "one"]),
    Case("event.data.b", ["true"], ["null", "true-text", "one"], exact=False),
    Case("!event.data.b", ["false"], ["null", "true-text", "one"], exact=False),
    Case("event.data.n == null", ["null"]),
    Case("event.data.n != null", but(WITH_N, "null")),
    # What is missing.
    Case("has(event.data.n)", WITH_N),
    Case("!has(event.data.n)", but(ALL, *WITH_N)),
    Case("!(has(event.data.m) && !has(event.data.m.a))", but(ALL, "null")),
    Case("has(event.data.m.a.b)", ["nested"]),
    Case('event.data.m.a.b == 1 || event.data.m.a == "b"', ["nested", "nested-text"]),
    Case('event.data.m.a["null"] == null', ["nested"]),
    Case("event.data.nowhere == 1 || true", ALL),
    Case("event.data.nowhere == 1 && false", NONE),
    Case("!(event.data.nowhere == 1 && false)", ALL),
    Case("!(event.data.nowhere == 1)", NONE),
    Case("!(event.data.n == 5 || event.data.nowhere == 1)", NONE),
    Case('event.data.nowhere == 1 && event.data.n + "a" == "b"', NONE, exact=False),
    Case(
        'event.data.n + "a" == "b" || event.data.nowhere == 1',
        NONE,
        [name for name in WITH_N if name != "five-text"],
        exact=False,
    ),
    Case("event.data.n.x == 5", ["map-number"]),
    Case(
        'event.data["é\\"\'%"] == 1 && event.data["a.b"] == 2 && event.data["0"] == 3', ["odd-key"]
    ),
    Case('event.metadata.source == "web-api"', ["six"]),
    Case('event.metadata.source != "web-api"', NONE),
    # Lists.
    Case("event.data.n == [5]", ["list-number"], exact=False),
    Case("event.data.n[0] == 5", ["list-number"], exact=False),
    Case('event.data.l["0"] == "0"', NONE),
    Case("event.data.l[2][0] == 3 && event.data.m.a.b == 1", ["nested"], exact=False),
    Case("event.data.l.exists(i, i.q == 5)", ["nested-text", "items"], ["null"], exact=False),
    Case(
        "event.data.l.exists(i, i.q > 0)",
        ["nested-text", "items", "items-bad"],
        ["null"],
        exact=False,
    ),
    Case("event.data.l.all(i, i.q < 5)", ["no-items"], ["null", "items-bad"], exact=False),
    Case('event.data.l.filter(i, i.p == "x").size() == 1', ["items"], ["null"], exact=False),
    Case("event.data.l.size() == 3 && has(event.data.m)", ["nested"], ["null"], exact=False),
]
