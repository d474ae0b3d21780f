"""Event files and the sample shop in a real event store."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from random import Random
from string import ascii_letters, digits
from typing import Any

import pytest
from sqlalchemy import func, make_url, select, text

from refold.errors import InvalidEventFile
from refold.runtime.database import make_engine
from refold.source.files import event_lines
from refold.source.files.analysis import LARGE, analyzed
from refold.source.files.event_file import MAX_STREAM_ID_BYTES, check_event
from refold.source.files.event_lines import UnreadableEventFile
from refold.source.files.importer import (
    ImportConflict,
    ImportProgress,
    ImportResult,
    import_events,
    loading,
)
from refold.source.files.sample_shop import seed_shop, shop_events
from refold.source.log import NewEvent, append, count_events
from refold.store.schema import events
from tests.conftest import REAL_EVENTS
from tests.support.databases import Database


def _event(stream: str, n: int, **more: Any) -> dict[str, Any]:
    return {"stream_id": stream, "type": "Happened", "data": {"n": n}, **more}


def _text(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _file(directory: Path, lines: Iterable[dict[str, Any]]) -> Path:
    path = directory / "events.ndjson"
    path.write_bytes(_text(lines))
    return path


async def _rows(database: Database) -> list[tuple[Any, ...]]:
    columns = (events.c.stream_id, events.c.version, events.c.data, events.c.metadata)
    async with database.engine.connect() as connection:
        found = await connection.execute(select(*columns).order_by(events.c.position))
        return [tuple(row) for row in found]


async def _count(database: Database) -> int:
    async with database.engine.connect() as connection:
        return await count_events(connection)


SAMPLE = [
    _event("a", 1, version=1, recorded_at="2024-01-01T00:00:00.5+02:00"),
    _event("b", 2, metadata={"who": 'odd "£"\\'}),
    _event("a", 3),
    _event("b", 4, version=2, data={"deep": [1.5, None, {"x": 2**63}]}),
]


@pytest.mark.parametrize("way", ["plain", "gzip", "stdin"])
async def test_round_trip(
    database: Database, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = _text(SAMPLE[:2]) + b"\n  \n" + _text(SAMPLE[2:]).rstrip()
    path = tmp_path / ("events.ndjson.gz" if way == "gzip" else "events.ndjson")
    path.write_bytes(gzip.compress(content) if way == "gzip" else content)
    progress: list[ImportProgress] = []
    if way == "stdin":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        result = await import_events(database.engine, "-", on_progress=progress.append)
    else:
        result = await import_events(database.engine, path, on_progress=progress.append)

    assert result == ImportResult(events=4, streams=2, first_position=1, last_position=4)
    size = path.stat().st_size
    assert progress[-1] == ImportProgress(6, size, None if way == "stdin" else size)
    assert await _rows(database) == [
        ("a", 1, {"n": 1}, {}),
        ("b", 1, {"n": 2}, {"who": 'odd "£"\\'}),
        ("a", 2, {"n": 3}, {}),
        ("b", 2, {"deep": [1.5, None, {"x": 2**63}]}, {}),
    ]
    async with database.engine.connect() as connection:
        times = select(events.c.recorded_at).order_by(events.c.position)
        given, *defaulted = (await connection.scalars(times)).all()
        now = (await connection.scalars(select(func.now()))).one()
    assert given.isoformat() == "2023-12-31T22:00:00.500000+00:00"
    assert len(set(defaulted)) == 1
    assert abs((now - defaulted[0]).total_seconds()) < 60


async def test_an_empty_file_adds_nothing(database: Database, tmp_path: Path) -> None:
    result = await import_events(database.engine, _file(tmp_path, []))
    assert result == ImportResult(0, 0, None, None)


async def test_a_bad_last_line_leaves_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lines, "_CHUNK_BYTES", 500)  # so that earlier lines have been copied
    path = _file(tmp_path, [*(_event("a", n) for n in range(100)), {"stream_id": "a"}])
    progress: list[ImportProgress] = []
    with pytest.raises(InvalidEventFile, match="line 101: type: expected"):
        await import_events(database.engine, path, on_progress=progress.append)
    assert len(progress) > 5
    assert await _count(database) == 0


async def test_chunks_may_cut_lines_anywhere(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lines, "_CHUNK_BYTES", 7)
    path = _file(tmp_path, [_event(f"s{n % 3}", n) for n in range(50)])
    result = await import_events(database.engine, path)
    assert result.events == 50
    assert [(s, d["n"]) for s, _, d, _ in await _rows(database)] == [
        (f"s{n % 3}", n) for n in range(50)
    ]


async def test_a_line_without_end_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_lines, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(event_lines, "_MAX_LINE_BYTES", 1000)
    path = _file(tmp_path, [_event("a", 1), _event("a", 2, metadata={"x": "y" * 5000})])
    with pytest.raises(InvalidEventFile, match="line 2: expected at most 1000 bytes"):
        await import_events(database.engine, path)


async def test_versions_go_on_from_what_is_there(database: Database, tmp_path: Path) -> None:
    await import_events(database.engine, _file(tmp_path, [_event("a", 1), _event("b", 2)]))
    more = [_event("c", 3), _event("a", 4, version=2), _event("a", 5), _event("b", 6)]
    result = await import_events(database.engine, _file(tmp_path, more))
    assert result == ImportResult(events=4, streams=3, first_position=3, last_position=6)
    assert [(s, v) for s, v, _, _ in await _rows(database)] == [
        *[("a", 1), ("b", 1)],
        *[("c", 1), ("a", 2), ("a", 3), ("b", 2)],
    ]


async def test_the_longest_stream_id_fits_the_index(database: Database, tmp_path: Path) -> None:
    letters = Random(1).choices(ascii_letters + digits, k=2600)
    assert len(letters) == MAX_STREAM_ID_BYTES
    await import_events(database.engine, _file(tmp_path, [_event("".join(letters), 1)]))
    assert await _count(database) == 1


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([_event("new", 1, version=2)], "line 1: version: expected 1, .* 'new', got 2"),
        ([_event("old", 1, version=1)], "line 1: version: expected 2, .* 'old', got 1"),
        ([_event("old", 1, version=3)], "line 1: version: expected 2, .* 'old', got 3"),
        ([_event("x", 1), _event("x", 1, version=1)], "line 2: version: expected 2, .* got 1"),
        ([_event("x", 1, version=10**15)], "line 1: version: expected 1, .* got 10+"),
    ],
)
async def test_a_version_that_is_not_the_next_is_refused(
    database: Database, tmp_path: Path, lines: list[dict[str, Any]], reason: str
) -> None:
    async with database.engine.begin() as connection:
        await append(connection, "old", [NewEvent("Happened", {})])
    with pytest.raises(InvalidEventFile, match=reason):
        await import_events(database.engine, _file(tmp_path, lines))
    assert await _count(database) == 1


async def test_an_append_at_the_same_time_wins(database: Database, tmp_path: Path) -> None:
    path = _file(tmp_path, [_event("free", 1), _event("busy", 2)])
    async with database.engine.begin() as connection:
        await append(connection, "busy", [NewEvent("Happened", {})])
        importing = asyncio.create_task(import_events(database.engine, path))
        async with database.engine.connect() as watching:
            waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not importing.done() and await watching.scalar(waits) == 0:
                pass
    with pytest.raises(ImportConflict, match=r"busy.*nothing was imported"):
        await importing
    assert [stream for stream, *_ in await _rows(database)] == ["busy"]


async def test_events_are_visible_only_at_the_end(database: Database) -> None:
    made = [check_event(1, event) for event in shop_events(orders=5, seed=1)]
    async with loading(database.engine) as loader:
        await loader.add(made)
        assert (await loader.result()).events > 5
        assert await _count(database) == 0
    assert await _count(database) > 5


async def test_files_that_cannot_be_read(database: Database, tmp_path: Path) -> None:
    whole = gzip.compress(_text(_event("a", n) for n in range(1000)))
    files = {
        "fake.gz": (b'{"stream_id": "a"}', "not valid gzip data"),
        "short.gz": (whole[:-20], "the gzip data is cut short"),
        "bent.gz": (whole[:200] + b"\0" * 50 + whole[250:], "not valid gzip data"),
    }
    for name, (content, reason) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableEventFile, match=f"{name}: {reason}"):
            await import_events(database.engine, tmp_path / name)
    with pytest.raises(UnreadableEventFile, match=r"none\.ndjson: No such file"):
        await import_events(database.engine, tmp_path / "none.ndjson")
    with pytest.raises(UnreadableEventFile, match="Is a directory"):
        await import_events(database.engine, tmp_path)
    assert await _count(database) == 0


@pytest.mark.skipif(not REAL_EVENTS.exists(), reason="the shared data is not here")
async def test_the_first_lines_of_a_real_shop(database: Database, tmp_path: Path) -> None:
    with gzip.open(REAL_EVENTS) as packed:
        lines = [json.loads(line) for line in islice(packed, 5000)]
    await import_events(database.engine, _file(tmp_path, lines))
    assert await _rows(database) == [
        (line["stream_id"], line["version"], line["data"], line["metadata"]) for line in lines
    ]


@pytest.mark.soak  # the suite imports them in tests/acceptance/test_real_events.py
@pytest.mark.skipif(not REAL_EVENTS.exists(), reason="the shared data is not here")
async def test_a_real_shop(database: Database) -> None:
    progress: list[ImportProgress] = []
    result = await import_events(database.engine, REAL_EVENTS, on_progress=progress.append)
    assert result == ImportResult(110_229, 4_894, 1, 110_229)
    size = REAL_EVENTS.stat().st_size
    assert progress[-1] == ImportProgress(110_229, size, size)
    assert progress == sorted(progress, key=lambda p: (p.lines, p.bytes_read))
    async with database.engine.connect() as connection:
        types = select(events.c.type, func.count()).group_by(events.c.type)
        counted = {row[0]: row[1] for row in await connection.execute(types)}
        value = text(
            "SELECT sum((data->>'quantity')::int * (data->>'unit_price')::numeric)"
            " FROM refold.events WHERE type = 'ItemAdded'"
        )
        assert await connection.scalar(value) == Decimal("2038742.590")
    assert counted == {
        "OrderPlaced": 4_089,
        "ItemAdded": 103_217,
        "CreditNoteIssued": 805,
        "ItemReturned": 1_904,
        "StockAdjusted": 214,
    }


def test_the_sample_shop_is_the_same_for_a_seed() -> None:
    first = list(shop_events(orders=200, seed=7))
    assert first == list(shop_events(orders=200, seed=7))
    assert first != list(shop_events(orders=200, seed=8))


def test_the_sample_shop_looks_like_a_shop() -> None:
    made = list(shop_events(orders=2000, seed=3))
    types = Counter(event["type"] for event in made)
    assert types["OrderPlaced"] == 2000
    assert set(types) == {
        *("OrderPlaced", "ItemAdded", "CreditNoteIssued", "ItemReturned", "StockAdjusted")
    }
    assert 7 <= len(made) / 2000 <= 9
    guests = sum(event["metadata"]["customer_id"] is None for event in made)
    assert 0.15 < guests / len(made) < 0.25
    times = [event["recorded_at"] for event in made]
    assert times == sorted(times)

    versions: Counter[str] = Counter()
    interleaved = 0
    for before, event in zip([made[0], *made], made, strict=False):
        stream = event["stream_id"]
        versions[stream] += 1
        assert event["version"] == versions[stream]
        interleaved += stream != before["stream_id"] and event["version"] > 1
    assert interleaved > len(made) / 3


async def test_the_sample_shop_is_loaded_once(database: Database) -> None:
    made = list(shop_events(orders=300, seed=1))
    assert await seed_shop(database.engine, orders=300) == len(made)
    assert await _rows(database) == [
        (event["stream_id"], event["version"], event["data"], event["metadata"]) for event in made
    ]
    with pytest.raises(InvalidEventFile, match="line 1: version: expected"):
        await seed_shop(database.engine, orders=300)
    assert await _count(database) == len(made)


# -- statistics ------------------------------------------------------------------------------------


async def _statistics(database: Database) -> float:
    async with database.engine.connect() as connection:
        found = await connection.scalar(
            text("SELECT reltuples FROM pg_class WHERE oid = 'refold.events'::regclass")
        )
    return float(found)


async def test_after_many_events_the_table_is_analyzed(database: Database, tmp_path: Path) -> None:
    few = _file(tmp_path, [_event("few", n) for n in range(10)])
    assert not (await import_events(database.engine, few)).is_unanalyzed
    assert await _statistics(database) == -1
    many = _file(tmp_path, [_event(f"s{n % 50}", n) for n in range(LARGE)])
    assert not (await import_events(database.engine, many)).is_unanalyzed
    assert await _statistics(database) == LARGE + 10


async def test_who_cannot_analyze_imports_all_the_same_and_is_told(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE refold.events IN SHARE UPDATE EXCLUSIVE MODE"))
        assert not await analyzed(database.engine, LARGE, wait_seconds=0.1)
    assert await analyzed(database.engine, LARGE)
    role = f"importer_{database.url.rsplit('/', 1)[1]}"
    async with database.engine.begin() as connection:
        await connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
        await connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        await connection.execute(text(f"GRANT USAGE ON SCHEMA refold TO {role}"))
    place = make_url(database.url).set(username=role).render_as_string(hide_password=False)
    engine = make_engine(database.settings.model_copy(update={"database_url": place}))
    try:
        assert not await analyzed(engine, LARGE)
    finally:
        await engine.dispose()
