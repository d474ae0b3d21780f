"""What is read and folded at a time is bounded by bytes, whatever sizes events have."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from sqlalchemy import select, text
from temporalio.client import Client

from refold.engine.folding import key_order
from refold.projection.declaration import Projection
from refold.projection.key import key_loader
from refold.source import portions
from refold.source.batches.batch_reader import BatchReader
from refold.source.decoding import decoded
from refold.source.portions import portions_of, weighed
from refold.source.reader import as_events, in_key_order, in_position_order
from refold.store.schema import events
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.runs import assert_oracle, events_upto, run, working, write
from tests.support.soaking import soak

LIGHT, CHUNK, BATCH = 200, 4000, 9000


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portions, "_LIGHT_BYTES", LIGHT)
    monkeypatch.setattr(portions, "PORTION_BYTES", CHUNK)
    monkeypatch.setattr(portions, "PORTION_EVENTS", 20)
    monkeypatch.setattr(portions, "BATCH_BYTES", BATCH)
    monkeypatch.setattr(key_order, "BATCH_BYTES", BATCH)


def mixed(seed: int, count: int = 120) -> list[tuple[str, str, dict[str, Any]]]:
    """Events of all sizes, most of them of one key; some compress well, some do not."""
    chance = random.Random(seed)
    made = []
    for n in range(count):
        size = chance.choice([0, 0, 0, 10, 150, 250, 1000, 3900, 4100, 20_000])
        body = "x" * size
        if chance.random() < 0.5:
            body = "".join(chance.choices(string.printable, k=size))
        key = chance.choice(["big", "big", "big", 'q"uote', "Ä", "!", "a\\b", ""])
        made.append((f"s{n % 5}", "Added", {"key": key, "n": n, "text": body}))
    return made


def size_of(chunk: list[str]) -> int:
    return sum(map(len, chunk))


@pytest.mark.parametrize("seed", [1, *soak(2)])
async def test_chunks_are_bounded_and_nothing_is_lost(database: Database, seed: int) -> None:
    await write(database.engine, mixed(seed))
    projection = counters()
    right = await events_upto(database.engine, projection)
    load = key_loader(projection.table)
    async with database.engine.connect() as connection, connection.begin():
        await connection.execute(text("SELECT 1"))  # only now is it in a transaction
        plain = select(weighed()).order_by(events.c.position)
        by_position = [chunk async for chunk in portions_of(connection, plain)]
        ordered = in_key_order(projection, after=0, upto=10**6, low=None, high=None)
        by_key = [chunk async for chunk in portions_of(connection, ordered)]
    for chunk in [*by_position, *by_key]:
        # What is measured is data and metadata; beside them an event has little.
        assert size_of(chunk) <= CHUNK + 200 * len(chunk) or len(chunk) == 1
    assert [event for chunk in by_position for event in as_events(chunk)] == right
    folded = [fields for chunk in by_key for fields in decoded(chunk)]
    keys = [load([fields[7]]) for fields in folded]
    assert keys == [event.data["key"] for event in map(_as_event, folded)]
    assert sorted(fields[0] for fields in folded) == [event.position for event in right]
    for key in set(keys):
        positions = [fields[0] for fields, of in zip(folded, keys, strict=True) if of == key]
        assert positions == sorted(positions)


def _as_event(fields: list[Any]) -> Any:
    return type("E", (), {"data": fields[4]})


async def test_a_batch_is_bounded_and_the_next_goes_on_behind_it(database: Database) -> None:
    await write(database.engine, mixed(3))
    projection = counters()
    right = await events_upto(database.engine, projection)
    statement = in_position_order(types=projection.event_types, upto=10**6)
    for limit in (1, 7, 1000):
        reader, position, found = BatchReader(), 0, []
        async with database.engine.connect() as connection, connection.begin():
            while True:
                read = await reader.read(connection, statement, after=position, limit=limit)
                assert len(read.texts) <= limit
                assert size_of(read.texts[:-1]) <= BATCH + CHUNK
                found += as_events(read.texts)
                if read.all:
                    break
                assert read.texts
                position = found[-1].position
        assert found == right, f"at most {limit} at a time"


@pytest.mark.parametrize("batch_size", [100_000, *soak(3)])
async def test_rows_are_the_fold_of_events_of_all_sizes(
    client: Client, database: Database, batch_size: int
) -> None:
    projection: Projection = counters(batch_size=batch_size, partitions=2)
    await write(database.engine, mixed(4))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "counters")
        await assert_oracle(database.engine, projection)
        await write(database.engine, mixed(5))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await assert_oracle(database.engine, projection)
        await write(database.engine, mixed(6, 40))
        await run(client, database, "Backfill", "counters")
        await assert_oracle(database.engine, projection)
