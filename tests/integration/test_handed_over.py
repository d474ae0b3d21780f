"""What only one key can have passes from key to key: the table after a batch is what must hold."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    delete,
    insert,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ExcludeConstraint
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.live import live
from tests.support.many import run_all
from tests.support.runs import assert_oracle, checkpoint, last, until, working, write
from tests.support.soaking import soak

CONSTRAINTS: dict[str, Callable[[], Any]] = {
    "unique": lambda: UniqueConstraint("seat"),
    "deferrable": lambda: UniqueConstraint("seat", deferrable=True),
    "deferred": lambda: UniqueConstraint("seat", deferrable=True, initially="DEFERRED"),
    "unique index": lambda: Index(None, "seat", unique=True),
    "of an expression": lambda: Index("of_an_expression", text("(seat / 1)"), unique=True),
    "partial": lambda: Index(None, "seat", unique=True, postgresql_where=text("seat > 0")),
    "of two": lambda: UniqueConstraint("seat", "row"),
    "exclusion": lambda: ExcludeConstraint(
        (literal_column("int4range(seat, seat + 1)"), "&&"), name="seats_exclusion_excl"
    ),
}


def seats(what: str, **policy: Any) -> Projection:
    """Who sits where; a seat is for one at a time."""
    made = Projection(
        f"seats-{what.replace(' ', '-')}",
        table=Table(
            f"seats_{what.replace(' ', '_')}",
            MetaData(),
            Column("person", Text, primary_key=True),
            Column("seat", Integer),
            Column("row", Text, nullable=False),
            CONSTRAINTS[what](),
        ),
        key="stream_id",
        backfill=BackfillPolicy(**policy),
    )

    @made.on("Sat")
    def sat(row: Row | None, event: Event) -> Row:
        return {"seat": event.data["seat"], "row": "a"}

    @made.on("Left")
    def left(row: Row | None, event: Event) -> None:
        return None

    return made


def moves(*said: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Events from words such as ``ann=3``, or ``ann=`` for leaving."""
    pairs = [one.split("=") for one in said]
    return [(p, "Sat", {"seat": int(s)}) if s else (p, "Left", {}) for p, s in pairs]


BEGIN = moves("ann=1", "bob=2", "cat=3", "dan=4")
# Each event leaves the table unique.
HANDED_OVER = {
    "to an earlier key": moves("bob=9", "ann=2"),
    "to a later key": moves("ann=9", "bob=1"),
    "to a new key": moves("ann=9", "abe=1"),
    "from one that leaves": moves("cat=", "eve=3"),
    "to and fro": moves("ann=9", "bob=1", "bob=2", "ann=1"),
    "two swap": moves("ann=9", "bob=1", "ann=2"),
    "three in a ring": moves("ann=9", "bob=1", "cat=2", "ann=3"),
    "a chain": moves("dan=9", "cat=4", "bob=3", "ann=2", "zoe=1"),
    "a ring and a chain": moves("ann=9", "bob=1", "ann=2", "dan=8", "cat=4", "abe=3", "dan="),
}


# Live, the suite tells them all; one run for each, it follows those that are made of the others.
FEW_STORIES = ("a ring and a chain",)


@pytest.mark.parametrize(
    ("whats", "stories"),
    [
        (("unique", "exclusion"), FEW_STORIES),
        pytest.param(tuple(CONSTRAINTS), tuple(HANDED_OVER), marks=pytest.mark.soak),
    ],
)
async def test_followed_live_and_rebuilt(
    client: Client, database: Database, whats: tuple[str, ...], stories: tuple[str, ...]
) -> None:
    projections = [seats(what, partitions=2) for what in whats]
    names = [one.name for one in projections]
    await write(database.engine, BEGIN)
    async with working(client, database, registry_of(*projections)):
        await run_all(client, database, "Backfill", names)
        for story in stories:
            events = HANDED_OVER[story]
            await write(database.engine, events)
            await run_all(client, database, "Backfill", names, criteria="incremental_update")
            for one in projections:
                await assert_oracle(database.engine, one)
            if story == "a ring and a chain":
                await run_all(client, database, "Rebuild", names)
                await run_all(client, database, "Backfill", names)
            await write(database.engine, as_it_began(events))
        # Live, in batches as they come.
        async with AsyncExitStack() as going:
            for name in names:
                await going.enter_async_context(live(client, database, projection=name))
            for events in HANDED_OVER.values():
                await write(database.engine, events)
                await write(database.engine, as_it_began(events))
            end = await last(database)

            async def applied() -> bool:
                return {await checkpoint(database.engine, one) for one in projections} == {end}

            await until(applied)
            for one in projections:
                await assert_oracle(database.engine, one)


def as_it_began(events: list[tuple[str, str, dict[str, Any]]]) -> list[Any]:
    """Everybody leaves, and the first four sit down as before."""
    people = sorted({person for person, _, _ in [*BEGIN, *events]})
    return [*[(person, "Left", {}) for person in people], *BEGIN]


WRONG = {
    "two swapped": [("ann", 2), ("bob", 1), ("cat", 3), ("dan", 4)],
    "a ring": [("ann", 2), ("bob", 3), ("cat", 4), ("dan", 1)],
    "held by a stray": [("ann", 9), ("nobody", 1), ("bob", 2), ("cat", 3), ("dan", 4)],
    "two strays": [("aaa", 1), ("zzz", 2), ("cat", 3), ("dan", 4)],
}


@pytest.mark.parametrize(
    ("batch_size", "partitions", "wrongs"),
    [
        (1000, 4, ("a ring", "two strays")),
        *soak(*((size, slices, tuple(WRONG)) for size in (1, 1000) for slices in (1, 4))),
    ],
)
async def test_values_changed_by_hand_are_repaired_in_place(
    client: Client, database: Database, batch_size: int, partitions: int, wrongs: tuple[str, ...]
) -> None:
    projections = [seats(what, batch_size=batch_size, partitions=partitions) for what in FEW]
    names = [one.name for one in projections]
    await write(database.engine, BEGIN)
    async with working(client, database, registry_of(*projections)):
        await run_all(client, database, "Backfill", names)
        for wrong in map(WRONG.__getitem__, wrongs):
            async with database.engine.begin() as connection:
                for one in projections:
                    await connection.execute(delete(one.table))
                    rows = [{"person": p, "seat": n, "row": "a"} for p, n in wrong]
                    await connection.execute(insert(one.table), rows)
            await run_all(client, database, "Backfill", names)
            for one in projections:
                await assert_oracle(database.engine, one)


FEW = ["of an expression", "exclusion"]
