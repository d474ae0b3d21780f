"""A predicate selects the same events pushed down to SQL as it does in Python, errors included."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PredicateFailed
from refold.event import Event
from refold.predicates import Predicate, parse_predicate
from refold.runtime.database import raw
from refold.source.push_down import pushed_down
from refold.source.reader import read_events
from refold.store.schema import events
from tests.support.databases import Database

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


async def log(connection: AsyncConnection, rows: Sequence[tuple[str, str]]) -> list[Event]:
    """These streams' bodies as the only events of the log; the type is the stream's in capitals."""
    await connection.execute(text("TRUNCATE refold.events RESTART IDENTITY"))
    await (await raw(connection)).executemany(
        "INSERT INTO refold.events (stream_id, version, type, data, metadata, recorded_at) "
        "VALUES ($1, 1, $2, $3, $4, $5)",
        [
            (
                name,
                name.title().replace("-", ""),
                data,
                '{"source": "web-api"}' if name == "six" else "{}",
                NEW_YEAR.replace(year=2025) if name == "six" else NEW_YEAR,
            )
            for name, data in rows
        ],
    )
    return await read(connection, [])


async def read(connection: AsyncConnection, conditions: Sequence[Any]) -> list[Event]:
    columns = [events.c[name] for name in Event._fields]
    statement = select(cast(func.json_build_array(*columns), Text)).where(*conditions)
    return await read_events(connection, statement.order_by(events.c.position))


def decided(predicate: Predicate, among: Sequence[Event]) -> tuple[list[str], list[str]]:
    """The streams whose events match, and those for which the predicate fails."""
    meant, failing = [], []
    for event in among:
        try:
            if predicate.matches(event):
                meant.append(event.stream_id)
        except PredicateFailed as failed:
            failing.append(failed.stream_id)
    return meant, failing


def test_there_are_many_cases() -> None:
    assert len({case.text for case in CASES}) == len(CASES) >= 40


async def test_every_case_selects_alike(database: Database) -> None:
    wrong: list[Any] = []
    async with database.engine.connect() as connection:
        everything = await log(connection, list(BODIES.items()))
        for case in CASES:
            predicate = parse_predicate(case.text)
            meant, failing = decided(predicate, everything)
            if (sorted(meant), sorted(failing)) != (sorted(case.meant), sorted(case.failing)):
                wrong.append((case.text, "in Python", meant, failing))
            pushed = pushed_down(predicate)
            found = await read(connection, pushed.conditions)
            if pushed.exact:
                alike = ([event.stream_id for event in found], []) == (meant, failing)
            else:
                alike = decided(predicate, found) == (meant, failing)
            if not alike or pushed.exact != case.exact:
                names = [event.stream_id for event in found]
                wrong.append((case.text, "in SQL", pushed.exact, names))
    assert not wrong, "\n".join(map(str, wrong))


async def test_a_conjunct_that_sql_decides_leaves_fewer_events_to_ask(database: Database) -> None:
    async with database.engine.connect() as connection:
        await log(connection, list(BODIES.items()))
        for written, fewer in [
            ('event.type.startsWith("Percent") && event.data.s.matches("^1")', 2),
            ('event.data.s.startsWith("100") && event.data.s.matches("%")', 3),
            ("event.data.n > 5", len(["almost-five", *ABOVE, *NO_NUMBERS])),
            ("event.data.b", 4),
        ]:
            pushed = pushed_down(parse_predicate(written))
            assert not pushed.exact
            assert len(await read(connection, pushed.conditions)) == fewer, written


async def test_combinations_select_alike(database: Database) -> None:
    """Random trees of the cases above: what is missing or fails goes the same way through them."""
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)

    def tree(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(CASES).text
        shape = rng.choice(["!({})", "({}) && ({})", "({}) || ({})", "({}) && ({}) && ({})"])
        return shape.format(*[tree(depth - 1) for _ in range(shape.count("{}"))])

    wrong = []
    async with database.engine.connect() as connection:
        everything = await log(connection, list(BODIES.items()))
        for _ in range(150):
            predicate = parse_predicate(tree(rng.randint(1, 3)))
            pushed = pushed_down(predicate)
            found = await read(connection, pushed.conditions)
            wanted = decided(predicate, everything)
            kept = ([e.stream_id for e in found], []) if pushed.exact else decided(predicate, found)
            if kept != wanted:
                wrong.append((predicate.text, kept, wanted))
    assert not wrong, "\n".join(map(str, wrong))


def some_number(rng: random.Random) -> str:
    """A number as JSON writes it: round ones, those beside them, those between two floats."""
    base = rng.choice([0, 1, -1, 5, 7, 0.1, 2.5, 1e-8, 2**52, 2**53 - 1, 2**53, 2**63, -(2**63)])
    shape = rng.randrange(5)
    if shape == 0:
        return repr(base)
    if shape == 1:
        return f"{int(base)}.{'0' * rng.randrange(25)}{rng.choice('015')}"
    if shape == 2:
        return f"{rng.randrange(-3, 9)}e{rng.choice([-400, -20, -1, 0, 2, 17, 300])}"
    if shape == 3:
        return f"0.{''.join(rng.choice('0123456789') for _ in range(rng.randrange(1, 40)))}"
    return f"{base + rng.choice([0, 1, -1]) * abs(base) * 2**-53:.60f}"


async def test_numbers_select_alike(database: Database) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    bodies = [(f"s{number}", f'{{"n": {some_number(rng)}}}') for number in range(400)]
    wrong = []
    async with database.engine.connect() as connection:
        everything = await log(connection, bodies)
        for _ in range(80):
            literal = repr(rng.choice([json.loads(rng.choice(bodies)[1])["n"], 0, 5, 0.1, 2**53]))
            if abs(float(literal)) >= 2**63 and "." not in literal and "e" not in literal:
                continue
            operator = rng.choice(["==", "!=", "<", "<=", ">", ">="])
            predicate = parse_predicate(f"event.data.n {operator} {literal}")
            pushed = pushed_down(predicate)
            found = await read(connection, pushed.conditions)
            kept = decided(predicate, found)
            wanted = decided(predicate, everything)
            if kept != wanted or (pushed.exact and len(found) != len(wanted[0])):
                wrong.append((predicate.text, set(kept[0]) ^ set(wanted[0])))
    assert not wrong, "\n".join(map(str, wrong))
