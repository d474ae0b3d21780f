"""A predicate selects the same events pushed down to SQL as it does in Python, errors included."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
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
from tests.support.predicate_cases import ABOVE, BODIES, CASES, NEW_YEAR, NO_NUMBERS
from tests.support.soaking import soak


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


@pytest.mark.parametrize("trees", [60, *soak(1000)])
async def test_combinations_select_alike(database: Database, trees: int) -> None:
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
        for _ in range(trees):
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


@pytest.mark.parametrize("comparisons", [40, *soak(500)])
async def test_numbers_select_alike(database: Database, comparisons: int) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    bodies = [(f"s{number}", f'{{"n": {some_number(rng)}}}') for number in range(250)]
    wrong = []
    async with database.engine.connect() as connection:
        everything = await log(connection, bodies)
        for _ in range(comparisons):
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
