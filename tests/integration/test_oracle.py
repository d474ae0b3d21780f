"""The headline property: any batch size and partitioning give the rows of one sequential fold."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from temporalio.client import Client

from refold import Projection
from tests.support.at_once import at_once
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import assert_oracle, leftovers, run, working, write

KINDS = ["Rebuild", "Backfill", "incremental", "Rollback"]

Drawn = tuple[str, str | None, int]

TYPES = ["Added", "Added", "Added", "Added", "Removed", "Other"]
# One key gets most of the events: larger than many batches.
KEYS = ["big", "big", "big", "a", "b", "Ä", "ab", "ba", "z-1", "", None]

events = st.lists(
    st.tuples(st.sampled_from(TYPES), st.sampled_from(KEYS), st.integers(-1000, 1000)),
    max_size=120,
)


def as_events(drawn: list[Drawn]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (f"s{key}", kind, {"n": n} if key is None else {"key": key, "n": n})
        for kind, key, n in drawn
    ]


# Batch size, what is done after the first build, and the read model.
FIXED: list[tuple[int, list[str], Callable[..., Projection]]] = [
    (1, ["incremental", "Rebuild", "Rollback"], at_once),
    (7, ["Backfill"], counters),
]


async def test_rows_are_those_of_one_sequential_fold(client: Client, database: Database) -> None:
    for seed, (batch_size, kinds, made) in enumerate(FIXED):
        drawn = random.Random(seed)
        halves = [[_drawn(drawn) for _ in range(60)] for _ in range(2)]
        projection = made(batch_size=batch_size, partitions=3)
        await _are_those_of_a_fold(client, database, projection, halves, kinds)


def _drawn(chance: random.Random) -> Drawn:
    return chance.choice(TYPES), chance.choice(KEYS), chance.randint(-1000, 1000)


@pytest.mark.soak
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    first=events,
    second=events,
    batch_size=st.sampled_from([1, 2, 3, 7, 50]),
    partitions=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    made=st.sampled_from([at_once, counters]),
)
async def test_rows_of_any_events_are_those_of_one_sequential_fold(
    client: Client,
    database: Database,
    *,
    first: list[Drawn],
    second: list[Drawn],
    batch_size: int,
    partitions: int,
    kinds: list[str],
    made: Callable[..., Projection],
) -> None:
    projection = made(batch_size=batch_size, partitions=partitions)
    await _are_those_of_a_fold(client, database, projection, [first, second], kinds)


async def _are_those_of_a_fold(
    client: Client,
    database: Database,
    projection: Projection,
    halves: list[list[Drawn]],
    kinds: list[str],
) -> None:
    first, second = halves
    await _empty(database)
    await write(database.engine, as_events(first))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, projection)
        await write(database.engine, as_events(second))
        # A rollback needs something to go back to, and may be rolled back itself.
        for kind in ["Rebuild", *kinds] if _lacks_a_rebuild(kinds) else kinds:
            if kind == "Backfill":
                await _corrupt(database, projection)
            if kind == "incremental":
                await run(client, database, "Backfill", "counters", criteria="incremental_update")
            else:
                await run(client, database, kind, "counters")
            await assert_oracle(database.engine, projection)
    assert await leftovers(database.engine) == []


def _lacks_a_rebuild(kinds: list[str]) -> bool:
    return "Rollback" in kinds and "Rebuild" not in kinds[: kinds.index("Rollback")]


async def _corrupt(database: Database, projection: Projection) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET count = -1 WHERE key >= 'b'"))
        await connection.execute(text("DELETE FROM counters WHERE key = 'a'"))
        await connection.execute(
            text("INSERT INTO counters VALUES ('nobody', 1, 1) ON CONFLICT DO NOTHING")
        )


async def _empty(database: Database) -> None:
    """Hypothesis runs all its examples in one test: each begins with an empty database."""
    async with database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS counters"))
        for schema in (
            (
                await connection.execute(
                    text("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'refold\\_%'")
                )
            )
            .scalars()
            .all()
        ):
            await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        await connection.execute(
            text(
                "TRUNCATE refold.events, refold.generations, refold.runs, refold.partitions, "
                "refold.leases RESTART IDENTITY"
            )
        )
