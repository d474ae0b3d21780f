"""Rows that PostgreSQL refuses: on every route the event is named, set aside, retried, skipped."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row
from refold.projection.dead_letters import letter_key
from refold.requests.poison_policy import OnPoison
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed, letters
from tests.support.live import live
from tests.support.many import run_all
from tests.support.runs import last, leftovers, rows_of, run, start, until, working, write

_rng = random.Random(11)
LONG = "".join(_rng.choices(string.ascii_letters + string.digits, k=8000))

Make = Callable[[], list[Any]]

# What refuses the row whose note is bad: the constraint, and a value that it refuses.
REFUSING: dict[str, tuple[Make, Any]] = {
    "key": (list, None),
    "index": (lambda: [Index(None, "note")], LONG),
    "index of an expression": (lambda: [Index("notes_lower", text("lower(note)"))], LONG),
    "unique": (lambda: [UniqueConstraint("note")], LONG),
    "taken": (lambda: [UniqueConstraint("note")], "note of k00"),
    "exclusion": (lambda: [ExcludeConstraint(("note", "="), using="btree")], "note of k00"),
    "check": (lambda: [CheckConstraint("note <> 'bad'", name="no_bad")], "bad"),
    "reference": (list, "nowhere"),
}
POISON = ("bad", "Noted")


def notes(what: str, *, function: bool = False, on_poison: OnPoison | None = None) -> Projection:
    """Notes by key; what refuses one of them differs."""
    make, _ = REFUSING[what]
    name = f"notes-{what.replace(' ', '-')}{'-function' if function else ''}"
    note = Column("note", Text)
    if what == "reference":
        note = Column("note", Text, ForeignKey("known_notes.note"))
    made = Projection(
        name,
        table=Table(
            name.replace("-", "_"),
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("count", Integer, nullable=False),
            note,
            *make(),
        ),
        key=(lambda event: event.data["key"]) if function else "data.key",
        backfill=BackfillPolicy(batch_size=7, partitions=2, on_poison=on_poison),
    )

    @made.on("Noted")
    def noted(row: Row | None, event: Event) -> Row:
        return {"count": (row["count"] if row else 0) + 1, "note": event.data["note"]}

    return made


KEYS = [f"k{number:02}" for number in range(10)]


def noted(key: str, note: str, stream: str | None = None) -> tuple[str, str, dict[str, Any]]:
    return (stream or key, "Noted", {"key": key, "note": note})


BEFORE = [noted(key, f"note of {key}") for key in KEYS]
AFTER = [noted("k06", "later note of k06")]
HELD_AT = len(BEFORE) + 1


def poison(what: str) -> tuple[str, str, dict[str, Any]]:
    if what == "key":
        return noted(LONG, "of a long key", "bad")
    return noted("k05", REFUSING[what][1], "bad")


def expected() -> dict[str, tuple[int, str]]:
    """Each key up to what cannot be taken."""
    rows = {key: (1, f"note of {key}") for key in KEYS}
    rows["k06"] = (2, "later note of k06")
    return rows


async def shown(database: Database, projection: Projection) -> dict[str, tuple[int, str]]:
    rows = await rows_of(database.engine, projection)
    return {key: (row["count"], row["note"]) for key, row in rows.items()}


async def prepare(database: Database) -> None:
    known = [note for _, _, data in [*BEFORE, *AFTER] for note in [data["note"]]]
    async with database.engine.begin() as connection:
        await connection.execute(text("CREATE TABLE known_notes (note text PRIMARY KEY)"))
        for note in known:
            await connection.execute(text("INSERT INTO known_notes VALUES (:n)"), {"n": note})


def assert_named(projection: Projection, what: str, message: str) -> None:
    assert f"event {HELD_AT} (Noted of stream 'bad')" in message
    assert f"PostgreSQL refuses its row in table {projection.table.name!r}" in message
    assert len(message) < 600
    assert LONG[:50] not in message


# Each way to refuse is in the suite once, over all tests here. What is too long for an index is
# refused alike, whatever index it is.
NAMED = ("exclusion",)
SOME = ("key",)
LIVE = ("index of an expression", "reference", "taken", "check")
ALL = pytest.param(tuple(REFUSING), marks=pytest.mark.soak)


@pytest.mark.parametrize("function", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.parametrize("whats", [NAMED, ALL])
async def test_it_is_named_on_every_route(
    client: Client, database: Database, whats: tuple[str, ...], *, function: bool
) -> None:
    """Rebuilt, followed and in place, by paths and by functions, it is the same event."""
    await prepare(database)
    projections = {what: notes(what, function=function) for what in whats}
    names = [one.name for one in projections.values()]
    async with working(client, database, registry_of(*projections.values())):
        await write(database.engine, BEFORE)
        await run_all(client, database, "Backfill", names)
        for what, projection in projections.items():
            async with database.engine.begin() as connection:
                await connection.execute(
                    text("TRUNCATE refold.events RESTART IDENTITY"),
                )
            await write(database.engine, [*BEFORE, poison(what), *AFTER])
            kinds = [("Rebuild", {}), ("Backfill", {"criteria": "incremental_update"})]
            for kind, fields in kinds:
                request = {"projection": projection.name, **fields}
                failure = await failed(await start(client, database, kind, request))
                assert failure.type == "PoisonEvent", (what, kind, failure.message)
                assert_named(projection, what, failure.message)
            assert len(await shown(database, projection)) == len(KEYS)
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("whats", [SOME, ALL])
async def test_it_is_set_aside_retried_and_skipped(
    client: Client, database: Database, whats: tuple[str, ...]
) -> None:
    await prepare(database)
    aside = OnPoison.SET_ASIDE
    projections = {what: notes(what, on_poison=aside) for what in whats}
    async with working(client, database, registry_of(*projections.values())):
        for what, projection in projections.items():
            name = projection.name
            async with database.engine.begin() as connection:
                await connection.execute(text("TRUNCATE refold.events RESTART IDENTITY"))
                await connection.execute(text("DELETE FROM refold.skipped_events"))
            await write(database.engine, [*BEFORE, poison(what), *AFTER])
            held = LONG if what == "key" else "k05"
            # Rebuilt, again in place, and retried: it cannot be taken any more than before.
            for kind, fields in (
                ("Rebuild", {}),
                ("Backfill", {}),
                ("Backfill", {"criteria": "dead_letters"}),
            ):
                result = await run(client, database, kind, name, **fields)
                assert result.dead_letters == 1, (what, kind)
                (letter,) = await letters(database, name)
                assert (letter.key, letter.position) == (letter_key(held), HELD_AT)
                assert (letter.type, letter.stream_id) == ("Noted", "bad")
                assert "PostgreSQL refuses its row" in letter.error
                assert await shown(database, projection) == expected(), (what, kind)
            # Passed over from now on, it is as if it had never been.
            skipping = {"criteria": "dead_letters", "skip_events": [HELD_AT]}
            await run(client, database, "Backfill", name, **skipping)
            assert await letters(database, name) == []
            assert await shown(database, projection) == expected()
    assert await leftovers(database.engine) == []


@pytest.mark.parametrize("whats", [LIVE, ALL])
async def test_live_it_is_set_aside_or_said(
    client: Client, database: Database, whats: tuple[str, ...]
) -> None:
    """The first one's projection stops, the others' set the event aside."""
    await prepare(database)
    first, *others = whats
    aside = {what: notes(what, on_poison=OnPoison.SET_ASIDE) for what in others}
    stopping = notes(first)
    await write(database.engine, BEFORE)
    async with working(client, database, registry_of(*aside.values(), stopping)):
        names = [one.name for one in (*aside.values(), stopping)]
        await run_all(client, database, "Backfill", names)
        for what, projection in aside.items():
            async with live(client, database, projection=projection.name):
                await write(database.engine, [poison(what)])
                position = await last(database)

                async def is_aside(name: str = projection.name, at: int = position) -> bool:
                    return at in [one.position for one in await letters(database, name)]

                await until(is_aside)
        async with live(client, database, projection=stopping.name) as handle:
            await write(database.engine, [poison(first)])

            async def is_said() -> bool:
                health = await handle.query("health")
                return bool(health["status"] == "failed")

            await until(is_said)
            error = (await handle.query("health"))["error"]
            assert error["type"] == "PoisonEvent"
            assert error["stream_id"] == "bad"
            assert "PostgreSQL refuses its row" in error["message"]
