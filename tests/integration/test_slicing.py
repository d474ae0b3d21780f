"""Slices of the log are disjoint, cover every key, and are about equal in events."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Column, Integer, MetaData, SmallInteger, Table, Text, Uuid, text
from sqlalchemy.ext.asyncio import AsyncConnection

from refold.errors import PoisonEvent
from refold.event import Event
from refold.projection.declaration import Projection
from refold.runtime.database import raw
from refold.source import slices
from refold.source.reader import in_key_order, read_events, read_window
from refold.source.slices import Bounds, key_bounds, slice_totals
from refold.stack.postgres import EmbeddedPostgres
from tests.support.databases import Database, drop_database, make_database
from tests.support.soaking import soak

ALL = 50_000  # every position here, and still no sample


@pytest.fixture(scope="module")
async def sliced(template: EmbeddedPostgres) -> AsyncIterator[Database]:
    """One for all tests here: what they do is rolled back."""
    made = await make_database(template)
    yield made
    await drop_database(template, made)


@pytest.fixture
async def connection(sliced: Database) -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, with an empty log."""
    async with sliced.engine.connect() as connection:
        await connection.execute(text("TRUNCATE refold.events RESTART IDENTITY"))
        yield connection


def keyed(key: str | tuple[str, ...], *kinds: Any) -> Projection:
    columns = [Column[Any](f"k{i}", kind, primary_key=True) for i, kind in enumerate(kinds)]
    projection = Projection("sliced", table=Table("t", MetaData(), *columns), key=key)
    projection.on("T")(lambda row, event: {})
    return projection


async def log(connection: AsyncConnection, ks: Iterable[Any], kind: str = "T") -> None:
    """Appends an event for each value: of stream s, with the value as `data.k`."""
    await connection.execute(text("SELECT 1"))  # so that the driver, too, is in a transaction
    from orjson import dumps

    await (await raw(connection)).executemany(
        "INSERT INTO refold.events (stream_id, version, type, data) VALUES "
        "($1, (SELECT count(*) + 1 FROM refold.events), $2, $3)",
        [(k if isinstance(k, str) else "s", kind, dumps({"k": k}).decode()) for k in ks],
    )


async def slices_of(
    connection: AsyncConnection, projection: Projection, bounds: Bounds
) -> list[list[Event]]:
    """The events of each slice, as a partition of it would read them."""
    return [
        await read_events(
            connection, in_key_order(projection, after=0, upto=ALL, low=low, high=high)
        )
        for low, high in bounds
    ]


async def check(
    connection: AsyncConnection, projection: Projection, wanted: int
) -> Sequence[Counter[Any]]:
    """Cuts, and checks what holds for any cut; returns each slice's events by key."""
    bounds = await key_bounds(connection, projection, upto=ALL, slices=wanted)
    totals = await slice_totals(connection, projection, bounds, upto=ALL)
    slices = await slices_of(connection, projection, bounds)
    assert 1 <= len(bounds) <= wanted
    assert (bounds[0][0], bounds[-1][1]) == (None, None)
    assert [low for low, _ in bounds[1:]] == [high for _, high in bounds[:-1]]
    assert totals == [len(events) for events in slices]
    read = await read_window(connection, types=["T"], after=0, upto=ALL, limit=ALL)
    expected = sorted(event.position for event in read if projection.rows.keys_of(event))
    assert sorted(event.position for events in slices for event in events) == expected
    keys = [Counter(projection.rows.keys_of(event)[0] for event in events) for events in slices]
    assert sum(len(each) for each in keys) == len(set().union(*keys)), "no key is in two slices"
    return keys


@pytest.mark.parametrize("wanted", [7, *soak(1, 2, 3, 64)])
@pytest.mark.parametrize(
    ("projection", "ks"),
    [
        (keyed("data.k", Text), [f"ä{n % 50}" for n in range(300)]),
        (keyed("data.k", Text(collation="C")), [chr(40 + n % 200) for n in range(300)]),
        (keyed("data.k", Integer), [(n * 7919) % 101 - 50 for n in range(300)]),
        (keyed("data.k", SmallInteger), [str(n % 90) for n in range(300)]),
        (keyed("data.k", Uuid), [str(UUID(int=(n * 7919) % 101 << 96)) for n in range(300)]),
        (keyed(("stream_id", "data.k"), Text, Text), [f"{n % 60}" for n in range(300)]),
        (
            keyed(("data.k.0", "data.k.1"), Text, Integer),
            [["abc"[n % 3], n % 40] for n in range(300)],
        ),
    ],
    ids=["text", "collated", "integer", "smallint", "uuid", "pair", "mixed"],
)
async def test_slices_are_disjoint_and_cover_every_key(
    connection: AsyncConnection, projection: Projection, ks: list[Any], wanted: int
) -> None:
    await log(connection, ks)
    keys = await check(connection, projection, wanted)
    if wanted <= 7:
        assert len(keys) == wanted
        most = max(Counter(map(str, ks)).values())
        for each in keys:
            assert abs(each.total() - 300 / wanted) <= most + 1


async def test_an_empty_log_is_one_slice(connection: AsyncConnection) -> None:
    assert await check(connection, keyed("data.k", Text), 4) == [Counter()]


@pytest.mark.parametrize("ks", [["only"], ["a", "b"], ["a", "b", "b", "c"]])
async def test_fewer_keys_than_slices(connection: AsyncConnection, ks: list[str]) -> None:
    await log(connection, ks)
    keys = await check(connection, keyed("data.k", Text), 8)
    assert sum(keys, Counter()) == Counter(ks)


@pytest.mark.parametrize("hot", ["a", "m", "z"])
async def test_one_hot_key_is_in_one_slice(connection: AsyncConnection, hot: str) -> None:
    await log(connection, [hot] * 200 + list("bcdefghijklnopqrstuvwxy"))
    keys = await check(connection, keyed("data.k", Text), 4)
    assert [each[hot] for each in keys if hot in each] == [200]


async def test_events_without_a_key_and_of_other_types_do_not_count(
    connection: AsyncConnection,
) -> None:
    await log(connection, [None, "a", "b", None, "c"])
    await log(connection, ["x"] * 20, kind="Other")
    keys = await check(connection, keyed("data.k", Text), 3)
    assert [dict(each) for each in keys] == [{"a": 1}, {"b": 1}, {"c": 1}]


async def test_events_beyond_the_position_do_not_count(connection: AsyncConnection) -> None:
    await log(connection, [1, 2, 3, 4, "no integer"])
    projection = keyed("data.k", Integer)
    bounds = await key_bounds(connection, projection, upto=2, slices=2)
    assert bounds == [(None, 1), (1, None)]
    assert await slice_totals(connection, projection, bounds, upto=2) == [1, 1]
    assert await slice_totals(connection, projection, bounds, upto=4) == [1, 3]


async def test_a_large_log_is_cut_by_a_sample(
    connection: AsyncConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log(connection, [n % 500 for n in range(3000)])
    monkeypatch.setattr(slices, "_SAMPLE", 1000)
    projection = keyed("data.k", Integer)
    bounds = await key_bounds(connection, projection, upto=3000, slices=4)
    totals = await slice_totals(connection, projection, bounds, upto=3000)
    assert sum(totals) == 3000
    assert (bounds[0][0], bounds[-1][1]) == (None, None)
    assert len(bounds) <= 4


@pytest.mark.parametrize(
    ("kind", "misfit"),
    [
        (Integer, "seven"),
        (Integer, 2**31),
        (Integer, 1.5),
        (Uuid, "no-uuid"),
        (Text, ["a"]),
        (Text, {"a": 1}),
    ],
)
async def test_a_key_that_does_not_fit_names_the_first_such_event(
    connection: AsyncConnection, kind: Any, misfit: Any
) -> None:
    fits = str(UUID(int=7)) if kind is Uuid else 7
    await log(connection, [misfit], kind="Other")
    await log(connection, [fits, None, misfit, fits, misfit])
    projection = keyed("data.k", kind)
    bounds = await key_bounds(connection, projection, upto=ALL, slices=2)
    with pytest.raises(
        PoisonEvent, match=r"its key does not fit: expected data\.k as k0"
    ) as caught:
        await slice_totals(connection, projection, bounds, upto=ALL)
    stream = misfit if isinstance(misfit, str) else "s"
    poison = caught.value
    assert (poison.projection, poison.position) == ("sliced", 4)
    assert (poison.event_type, poison.stream_id) == ("T", stream)


async def test_a_misfit_beside_a_missing_part_is_found_too(connection: AsyncConnection) -> None:
    await log(connection, [["a", 1], [None, "seven"]])
    projection = keyed(("data.k.0", "data.k.1"), Text, Integer)
    with pytest.raises(PoisonEvent, match="event 2"):
        await slice_totals(connection, projection, [(None, None)], upto=ALL)
