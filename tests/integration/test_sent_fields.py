"""Of an event only that travels which handlers read; rows are the same as if all of it did."""

from __future__ import annotations

import logging
import random
import sys
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row
from refold.projection.declaration import Handler
from refold.requests.poison_policy import OnPoison
from refold.source import portions
from refold.source.port.sent import sent_of
from refold.store.schema import events
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import assert_held_oracle
from tests.support.runs import NOON, assert_oracle, leftovers, run, working
from tests.support.soaking import mostly_soak

ALWAYS = {"position", "stream_id", "type"}


def _noted(row: Row | None, **seen: Any) -> Row:
    count = 0 if row is None else row["count"]
    return {"count": count + 1, "seen": f"{'' if row is None else row['seen']}{seen}"[-300:]}


def counts(row: Row | None, event: Event) -> Row:
    return _noted(row, at=event.position, type=event.type, stream=event.stream_id)


def sees_data(row: Row | None, event: Event) -> Row:
    if event.data["n"] % 9 == 8:
        raise ValueError("this event cannot be taken")
    return _noted(row, n=event.data["n"], text=event.data["text"][:5])


def sees_metadata_and_time(row: Row | None, event: Event) -> Row:
    return _noted(row, by=event.metadata["by"][-4:], at=event.recorded_at)


def sees_version(row: Row | None, event: Event) -> Row:
    return _noted(row, version=event.version)


def sees_all(row: Row | None, event: Event) -> Row:
    _, *others = event
    return _noted(row, others=str(others)[-50:])


KEYS: dict[str, tuple[str, ...] | str] = {
    "stream": "stream_id",
    "path": "data.key",
    "both": ("metadata.by", "data.number"),
}
HANDLERS: dict[str, tuple[Handler, set[str]]] = {
    "counts": (counts, set()),
    "data": (sees_data, {"data"}),
    "metadata": (sees_metadata_and_time, {"metadata", "recorded_at"}),
    "version": (sees_version, {"version"}),
    "all": (sees_all, {"version", "data", "metadata", "recorded_at"}),
}


def projection_of(key: str, handler: str) -> Projection:
    path = KEYS[key]
    parts: list[Column[Any]] = [Column("k0", Text, primary_key=True)]
    if isinstance(path, tuple):
        parts.append(Column("k1", Integer, primary_key=True))
    made = Projection(
        f"{key}-{handler}",
        table=Table(
            f"{key}_{handler}",
            MetaData(),
            *parts,
            Column("count", Integer, nullable=False),
            Column("seen", Text, nullable=False),
        ),
        key=path,
        backfill=BackfillPolicy(batch_size=7, partitions=2, on_poison=OnPoison.SET_ASIDE),
    )
    made.on("Seen", "Also")(HANDLERS[handler][0])
    return made


async def append(database: Database, seed: int, count: int = 150) -> None:
    """Appends events of all sizes, some with large data, some with large metadata."""
    chance = random.Random(seed)
    rows = []
    for n in range(count):
        sizes = chance.choices([0, 5, 150, 5000], k=2)
        letters = ["".join(chance.choices('aä"\\ n7', k=size)) for size in sizes]
        data = {"key": f"k{n % 4}", "number": n % 3, "n": n, "text": letters[0]}
        rows.append(
            {
                "stream_id": f'"s"{n % 5}',
                "version": seed * 1000 + n,
                "type": chance.choice(["Seen", "Also", "Other"]),
                "data": data,
                "metadata": {"by": f"{n % 2}", "text": letters[1]},
                "recorded_at": NOON + timedelta(seconds=n),
            }
        )
    async with database.engine.begin() as connection:
        await connection.execute(insert(events), rows)


SOME = [("stream", "counts"), ("path", "data"), ("both", "metadata")]
OTHERS = [(key, handler) for key in KEYS for handler in HANDLERS if (key, handler) not in SOME]


@pytest.mark.parametrize("pairs", mostly_soak(SOME, OTHERS, suite=1))
async def test_rows_are_the_fold_of_whole_events(
    client: Client,
    database: Database,
    pairs: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(portions, "_LIGHT_BYTES", 300)
    monkeypatch.setattr(portions, "PORTION_BYTES", 4000)
    await append(database, 1, count=60)
    projections = [projection_of(key, handler) for key, handler in pairs]
    for projection, (_, handler) in zip(projections, pairs, strict=True):
        assert set(sent_of(projection).fields) == ALWAYS | HANDLERS[handler][1]
    async with working(client, database, registry_of(*projections)):
        for projection in projections:
            await run(client, database, "Rebuild", projection.name)
            await assert_held_oracle(database, projection)
        await append(database, 2, count=25)
        for projection in projections:
            await run(client, database, "Backfill", projection.name)
            await assert_held_oracle(database, projection)
    assert await leftovers(database.engine) == []


def peek(event: Event) -> Any:
    return event.version


def _peek_further(event: Event) -> Any:
    return event.metadata["by"]


def hides_it(row: Row | None, event: Event) -> Row:
    seen = None
    try:
        seen = peek(event)
    except BaseException:  # it lets nobody know
        seen = "nothing"
    return _noted(row, seen=seen)


async def test_code_that_reads_more_than_it_shows_is_sent_all(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setitem(HANDLERS, "hiding", (hides_it, {"version"}))
    projection = projection_of("stream", "hiding")
    assert set(sent_of(projection).fields) == ALWAYS | {"version"}
    monkeypatch.setattr(sys.modules[__name__], "peek", _peek_further)
    await append(database, 1)
    async with working(client, database, registry_of(projection)):
        with caplog.at_level(logging.WARNING):
            await run(client, database, "Rebuild", projection.name)
    rows = await assert_oracle(database.engine, projection)
    assert "nothing" not in str(rows)
    assert "stream-hiding reads metadata of events, which its code does not show" in caplog.text
    assert sent_of(projection).is_whole
