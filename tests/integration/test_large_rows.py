"""Small events of large rows: a batch that follows reads no more of these than it may."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.engine.folding.follower import take
from refold.requests.poison_policy import Poison
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.memory import MB
from tests.support.runs import assert_oracle, run, working, write
from tests.support.soaking import soak

KEYS = 50


def bodies() -> Projection:
    """Rows of 1 MB, of events that have nothing in them."""
    projection = Projection(
        "bodies",
        table=Table(
            "bodies",
            MetaData(),
            Column("a", Text, primary_key=True),
            Column("b", Integer, primary_key=True),
            Column("events", Integer, nullable=False),
            Column("text", Text),
        ),
        key=("data.a", "data.b"),
    )

    @projection.on("Seen")
    def seen(row: Row | None, event: Event) -> Row:
        before = row or {"events": 0, "text": f"{event.position} " * (MB // 4)}
        return {**before, "events": before["events"] + 1}

    return projection


@pytest.mark.parametrize("at_once", [1, *soak(3)])
async def test_a_batch_reads_few_large_rows(
    client: Client, database: Database, at_once: int
) -> None:
    projection = bodies()
    await write(database.engine, seen(range(KEYS)))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "bodies")
    await write(database.engine, seen([n for n in range(KEYS) for _ in range(at_once)]))
    batches = []
    tracemalloc.start()
    async with database.engine.connect() as connection:
        async with connection.begin():
            follower = await take(connection, projection, 1, 1000, Poison())
        end = KEYS * (1 + at_once)
        while follower.position < end:
            async with connection.begin():
                batches.append(await follower.apply_batch(connection, end))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(batches) == KEYS * at_once
    assert peak < 40 * MB, f"{peak / MB:.0f} MB at most, in batches of {batches}"
    assert await assert_oracle(database.engine, projection)


def seen(keys: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [("s", "Seen", {"a": f"k{key % 7}", "b": key}) for key in keys]
