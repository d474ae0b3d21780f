"""Following with strides, in tests: small ones, over logs with every kind of event."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from refold import BackfillPolicy, Projection
from refold.engine.folding.follower import Follower, take
from refold.engine.strides import stride
from refold.engine.strides.ahead import reading_ahead
from refold.engine.strides.stride import Strides, strides_of
from refold.requests.poison_policy import OnPoison, Poison
from refold.source import portions
from tests.support.counters import counters, siblings
from tests.support.databases import Database

Log = list[tuple[str, str, dict[str, Any]]]

EASY = BackfillPolicy(on_poison=OnPoison.SET_ASIDE, max_dead_letters=1000)
"""Where nobody says a batch size, strides may be taken."""


def easy() -> list[Projection]:
    """Read models by a path, by stream, and by a function of several keys."""
    made = [counters(), *siblings()]
    for projection in made:
        projection.policies.set_own(backfill=EASY)
    return made


def log_of(chance: random.Random, count: int, *, poison: float = 0.01) -> Log:
    """Events of a few dozen keys, some removed, some poison."""
    made: Log = []
    for n in range(count):
        key = f"k{chance.randrange(40):03}"
        kind = chance.choices(["Added", "Removed", "Broken", "Other"], [20, 1, 20 * poison, 1])[0]
        data: dict[str, Any] = {"key": key, "n": n % 90}
        if chance.random() < poison / 2:
            data = {"key": {"no": "key"}, "n": 1}
        made.append((f"s{chance.randrange(30)}", kind, data))
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small portions, and strides also over short distances."""
    monkeypatch.setattr(portions, "PORTION_EVENTS", 25)
    monkeypatch.setattr(stride, "FAR_BEHIND", 40)


async def built(database: Database, projection: Projection) -> None:
    """Makes an empty live table of a projection, whose checkpoint is 0."""
    async with database.engine.begin() as connection:
        await connection.run_sync(projection.table.create)
        await connection.execute(
            text(
                "INSERT INTO refold.generations (projection, generation, version, status, "
                "schema_name, table_name, position, fence) "
                "VALUES (:name, 1, 1, 'active', 'public', :table, 0, 0)"
            ),
            {"name": projection.name, "table": projection.table.name},
        )


async def again(database: Database, projection: Projection) -> None:
    """Takes everything back to position 0."""
    async with database.engine.begin() as connection:
        await connection.execute(text(f"TRUNCATE {projection.table.name}"))
        await connection.execute(
            text("UPDATE refold.generations SET position = 0 WHERE projection = :name"),
            {"name": projection.name},
        )
        await connection.execute(
            text("DELETE FROM refold.dead_letters WHERE projection = :name"),
            {"name": projection.name},
        )


@asynccontextmanager
async def following(
    database: Database, projection: Projection, *, by_strides: bool = True
) -> AsyncIterator[tuple[Follower, Any]]:
    """A follower of the live table as its activity makes it, and its connection."""
    async with (
        database.engine.connect() as connection,
        reading_ahead(database.engine) as ahead,
    ):
        async with connection.begin():
            poison = projection.backfill.poison(Poison())
            follower = await take(connection, projection, 1, 100, poison)
        if by_strides:
            follower.strides = strides_of(follower, ahead)
        yield follower, connection


async def followed(database: Database, projection: Projection, head: int) -> Follower:
    """Follows to the head."""
    async with following(database, projection) as (follower, connection):
        while follower.position < head:
            await follower.commit_batch(connection, head)
        return follower


@dataclass
class Taken:
    """How many strides have applied something, and how many have come to nothing."""

    well: int = 0
    events: int = 0
    left: int = 0


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Counts strides."""
    counted = Taken()
    real = Strides.take

    async def take(self: Strides, connection: Any, upto: int) -> int | None:
        events = await real(self, connection, upto)
        if events is None:
            counted.left += 1
        else:
            counted.well += 1
            counted.events += events
        return events

    monkeypatch.setattr(Strides, "take", take)
    return counted
