"""An event file is not added twice unawares, and what is there already can be passed over."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from refold.errors import InvalidEventFile
from refold.source.files import event_lines
from refold.source.files.importer import ImportConflict, ImportResult, import_events
from refold.source.files.imports import AlreadyImported
from refold.store.schema import events, imports
from tests.support.commands import forked
from tests.support.databases import Database
from tests.support.processes import clean_environment
from tests.support.runs import until


def _event(stream: str, n: int, **more: Any) -> dict[str, Any]:
    return {"stream_id": stream, "type": "Happened", "data": {"n": n}, **more}


def _bytes(lines: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def _count(database: Database, of: Any = events) -> int:
    async with database.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(of)) or 0


UNVERSIONED = [_event("a", 1), _event("b", 2), _event("a", 3)]
VERSIONED = [_event("a", 1, version=1), _event("b", 2, version=1), _event("a", 3, version=2)]
FILES = {
    "without versions": UNVERSIONED,
    "with versions": VERSIONED,
    "with some": [UNVERSIONED[0], VERSIONED[1], UNVERSIONED[2]],
}


@pytest.mark.parametrize("way", ["plain", "gzip", "stdin"])
@pytest.mark.parametrize("lines", FILES.values(), ids=FILES.keys())
async def test_the_same_content_is_refused(
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    lines: list[dict[str, Any]],
) -> None:
    monkeypatch.setattr(event_lines, "_CHUNK_BYTES", 40)  # so that versions are met before the end
    content = _bytes(lines)
    first = tmp_path / "first.ndjson"
    first.write_bytes(content)
    await import_events(database.engine, first)

    source: Any = tmp_path / ("second.gz" if way == "gzip" else "second.ndjson")
    source.write_bytes(gzip.compress(content) if way == "gzip" else content)
    if way == "stdin":
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        source = "-"
    name = "standard input" if way == "stdin" else source.name
    expected = rf"{name}: .* as first\.ndjson, 3 events, positions 1 to 3, at .*; nothing was impo"
    with pytest.raises(AlreadyImported, match=expected):
        await import_events(database.engine, source)
    assert (await _count(database), await _count(database, imports)) == (3, 1)


async def test_again_adds_it_all_the_same(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_bytes(UNVERSIONED))
    await import_events(database.engine, path)
    result = await import_events(database.engine, path, again=True)
    assert (result.events, result.first_position) == (3, 4)
    with pytest.raises(AlreadyImported, match="positions 4 to 6"):
        await import_events(database.engine, path)
    async with database.engine.connect() as connection:
        found = (await connection.execute(select(imports).order_by(imports.c.id))).all()
    assert [(r.name, r.events, r.first_position, r.last_position) for r in found] == [
        ("events.ndjson", 3, 1, 3),
        ("events.ndjson", 3, 4, 6),
    ]
    assert found[0].digest == found[1].digest == sha256(_bytes(UNVERSIONED)).hexdigest()


async def test_a_file_may_have_any_name(database: Database, tmp_path: Path) -> None:
    for number, name in enumerate(("a\udcff\n\x1b[31m\u202e.ndjson", "b" * 250)):
        path = tmp_path / name
        path.write_bytes(_bytes([_event("a", number)]))
        await import_events(database.engine, path)
        with pytest.raises(AlreadyImported) as refused:
            await import_events(database.engine, path)
        assert str(refused.value).isprintable()


async def test_other_content_and_none_are_not_refused(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    for n in range(3):
        path.write_bytes(_bytes([_event("a", n)]))
        await import_events(database.engine, path)
    path.write_bytes(b"\n")
    for _ in range(2):
        assert (await import_events(database.engine, path)).events == 0
    assert (await _count(database), await _count(database, imports)) == (3, 3)


async def test_what_failed_can_be_imported(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_bytes([*UNVERSIONED, {"stream_id": "a"}]))
    for _ in range(2):
        with pytest.raises(InvalidEventFile, match="line 4: type"):
            await import_events(database.engine, path)
    path.write_bytes(_bytes(UNVERSIONED))
    await import_events(database.engine, path)
    async with database.engine.begin() as connection:
        await connection.execute(text("TRUNCATE refold.events"))
    assert (await import_events(database.engine, path)).events == 3


async def test_one_of_two_at_the_same_time(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_bytes(_event(f"s{n % 50}", n) for n in range(20_000)))
    made = await asyncio.gather(
        *[import_events(database.engine, path) for _ in range(2)], return_exceptions=True
    )
    refused = [one for one in made if isinstance(one, ImportConflict | AlreadyImported)]
    assert (len(refused), await _count(database)) == (1, 20_000), made


async def test_the_command_and_its_death(database: Database, tmp_path: Path) -> None:
    content = _bytes(_event(f"s{n}", n, metadata={"x": "y" * 500}) for n in range(4_000))

    async def copied() -> bool:
        waits = "backend_type = 'client backend' AND xact_start IS NOT NULL AND query ILIKE 'COPY%'"
        async with database.engine.connect() as connection:
            return bool(
                await connection.scalar(
                    text(
                        f"SELECT count(*) FROM pg_stat_activity WHERE {waits}"
                        " AND datname = current_database()"
                    )
                )
            )

    dying = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "refold.cli.main", "events", "import", "-"),
        stdin=asyncio.subprocess.PIPE,
        env=clean_environment(REFOLD_DATABASE_URL=database.url),
    )
    assert dying.stdin is not None
    dying.stdin.write(content[:-100])
    await until(copied)
    dying.kill()
    await dying.wait()
    assert (await _count(database), await _count(database, imports)) == (0, 0)

    path = tmp_path / "events.ndjson"
    path.write_bytes(content)
    await import_events(database.engine, path)
    variables = {"REFOLD_DATABASE_URL": database.url}
    arguments = ("events", "import", str(path), "--again")
    ended = await asyncio.to_thread(forked, *arguments, variables=variables)
    assert "imported 4,000 events of 4,000 streams" in ended.out, ended.err
    assert (ended.status, await _count(database)) == (0, 8_000)


# -- what is there already is passed over -----------------------------------------------------


async def test_events_that_are_there_are_skipped(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    at = "2024-01-01T00:00:00.5+02:00"
    old = [*VERSIONED, _event("c", 4, version=1, recorded_at=at, data={"x": 1.50, "y": {"k": []}})]
    path.write_bytes(_bytes(old))
    await import_events(database.engine, path)

    same = _event("c", 4, data={"y": {"k": []}, "x": 1.5}, version=1, metadata={})
    new = [_event("a", 5, version=3), _event("d", 6, version=1), _event("d", 6, version=1)]
    more = [*old[:3], {**same, "recorded_at": "2023-12-31T22:00:00.5Z"}, *new, _event("b", 7)]
    path.write_bytes(_bytes(more))
    result = await import_events(database.engine, path, skip_existing=True)
    assert result == ImportResult(events=3, streams=3, first_position=5, last_position=7, skipped=5)
    for _ in range(2):
        path.write_bytes(_bytes(old))
        result = await import_events(database.engine, path, skip_existing=True)
        assert result == ImportResult(0, 0, None, None, skipped=4)
    path.write_bytes(_bytes(more))
    with pytest.raises(AlreadyImported):  # its last line has no version
        await import_events(database.engine, path, skip_existing=True)
    assert await _count(database) == 7


@pytest.mark.parametrize(
    ("other", "fields"),
    [
        ({"type": "Other"}, "type"),
        ({"data": {"n": 4}}, "data"),
        ({"metadata": {"who": "x"}}, "metadata"),
        ({"recorded_at": "2020-01-01T00:00:00Z"}, "recorded_at"),
        ({"type": "Other", "data": {}}, "type, data"),
    ],
)
async def test_another_event_in_its_place_is_refused(
    database: Database, tmp_path: Path, other: dict[str, Any], fields: str
) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_bytes(VERSIONED))
    await import_events(database.engine, path)
    path.write_bytes(_bytes([_event("e", 1), *VERSIONED[:2], {**VERSIONED[2], **other}]))
    expected = f"line 4: .*as version 2 stream 'a' has one with other {fields}; nothing"
    with pytest.raises(InvalidEventFile, match=expected):
        await import_events(database.engine, path, skip_existing=True)
    assert await _count(database) == 3


async def test_a_gap_is_refused(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(_bytes(VERSIONED))
    await import_events(database.engine, path)
    async with database.engine.begin() as connection:
        await connection.execute(text("DELETE FROM refold.events WHERE position = 1"))
    with pytest.raises(InvalidEventFile, match=r"line 1: .*version 1 stream 'a' has no event"):
        await import_events(database.engine, path, skip_existing=True)
    path.write_bytes(_bytes([_event("a", 9, version=4)]))
    with pytest.raises(InvalidEventFile, match="line 1: version: expected 3"):
        await import_events(database.engine, path, skip_existing=True)
