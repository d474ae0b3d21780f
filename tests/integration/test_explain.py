"""The life of a row: each step is the fold's own, and what readers see is compared with it."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client
from typer.testing import CliRunner, Result

from refold import Projection, ProjectionManager
from refold.cli.main import app
from refold.projection.registry import Registry
from refold.source.stepwise.row_life import RowLife
from tests.support.counters import counters, registry_of, siblings
from tests.support.counting import counting
from tests.support.databases import Database
from tests.support.events import some
from tests.support.runs import events_upto, queue, run, working, write


def _log(seed: int) -> list[tuple[str, str, dict[str, Any]]]:
    drawn = random.Random(seed)
    kinds = ["Added"] * 5 + ["Removed"]
    return [
        (f"s{drawn.randrange(5)}", drawn.choice(kinds), {"key": f"k{drawn.randrange(6)}", "n": n})
        for n in range(120)
    ]


@pytest.mark.parametrize("place", range(3), ids=["path", "stream", "function"])
async def test_each_step_is_the_folds_own(client: Client, database: Database, place: int) -> None:
    projection = [counters(), *siblings()][place]
    await write(database.engine, _log(place))
    logged = await events_upto(database.engine, projection)
    rows = projection.fold(logged)
    async with ProjectionManager(client, database.url) as manager:
        for key in [*rows, "never"]:
            told = await manager.explain(projection, key)
            (life,) = told.lives
            own = [event for event in logged if key in projection.rows.keys_of(event)]
            assert [step.event for step in life.steps] == own
            befores = [None, *(step.after for step in life.steps)]
            assert [step.before for step in life.steps] == befores[:-1]
            for number, step in enumerate(life.steps, 1):
                assert step.after == projection.fold(own[:number]).get(key)
            assert life.row == rows.get(key)
            assert life.is_whole
            assert (told.generation, told.is_right) == (None, None)
            paged = await _in_pages(manager, projection, key)
            assert paged == life.steps


async def _in_pages(manager: ProjectionManager, projection: Projection, key: str) -> list[Any]:
    steps: list[Any] = []
    after: int | None = None
    while True:
        told = await manager.explain(projection, key, after=after, limit=7)
        life: RowLife = told.lives[0]
        steps += life.steps
        if life.is_whole:
            return steps
        after = life.position


def _second() -> Projection:
    """Version 2 counts twice, and does not read `Removed`."""
    projection = Projection("counters", version=2, table=counters().table, key="data.key")

    @projection.on("Added")
    def added(row: Any, event: Any) -> Any:
        row = row or {"count": 0, "sum": 0}
        return {"count": row["count"] + 2, "sum": row["sum"], "last": event.data["n"]}

    return projection


async def test_what_readers_see_is_compared_with_the_fold(
    client: Client, database: Database
) -> None:
    projection = counters()
    await write(database.engine, some(4))
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Backfill", "counters")
    await write(database.engine, some(4, 1))  # after the checkpoint
    async with ProjectionManager(client, database.url) as manager:
        told = await manager.explain(projection, "k001", against=_second())
        assert (told.generation, told.built_by, told.position) == (1, 1, 20)
        sums = told.lives[0].steps[4].after
        assert sums is not None
        assert told.row == {"key": "k001", "count": 5, "sum": sums["sum"], "last": 17}
        assert told.is_right is True
        assert [life.version for life in told.lives] == [1, 2]
        assert [life.row and life.row["count"] for life in told.lives] == [6, 12]
        # The steps end before the checkpoint: nobody can say.
        assert (await manager.explain(projection, "k001", limit=2)).is_right is None
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE counters SET count = 7 WHERE key = 'k001'"))
        assert (await manager.explain(projection, "k001")).is_right is False
        # Under version 2 alone the table's columns are not known.
        alone = await manager.explain(_second(), "k001")
        assert (alone.built_by, alone.row, alone.is_right) == (1, None, None)


async def test_poison_holds_the_row_and_what_was_skipped_is_told(
    client: Client, database: Database
) -> None:
    projection = counters()
    good, bad = ("s", "Added", {"key": "a", "n": 8}), ("s", "Broken", {"key": "a"})
    await write(database.engine, [good, bad, good])
    async with (
        working(client, database, registry_of(projection)),
        ProjectionManager(client, database.url, task_queue=queue(database)) as manager,
    ):
        await run(client, database, "Backfill", "counters", on_poison="set_aside")
        told = await manager.explain(projection, "a")
        errors = [step.error for step in told.lives[0].steps]
        assert errors[0] is None
        assert errors[1] is not None
        assert "this event cannot be taken" in errors[1]
        assert errors[2] == "not applied: event 2 could not be"
        assert told.is_right is True  # held with one event
        (letter,) = told.letters
        assert letter.position == 2
        await manager.skip_dead_letters("counters", [2])
        told = await manager.explain(projection, "a")
        assert [bool(step.error) for step in told.lives[0].steps] == [False, True, False]
        assert (told.letters, told.is_right) == ((), True)
        assert told.row is not None
        assert told.row["count"] == 2


async def _refold(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*words])


async def test_the_command_line_shows_rows_lives_and_events(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
    monkeypatch.setenv("REFOLD_TASK_QUEUE", queue(database))
    monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.counting")
    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    added = [("s1", "Added", {"key": "a", "n": n}) for n in (3, 4)]
    await write(database.engine, [*added, ("s2", "Added", {"key": "b", "n": 2, "large": 2**70})])
    nothing = await _refold("rows", "counting")
    assert (nothing.exit_code, "`refold rebuild counting` builds it" in nothing.output) == (1, True)
    unbuilt = await _refold("explain", "counting", "a")
    assert "readers see nothing yet: `refold rebuild counting` builds it" in unbuilt.output
    async with working(client, database, Registry([counting])):
        await run(client, database, "Backfill", "counting")
    shown = await _refold("explain", "counting", "a")
    assert shown.exit_code == 0, shown.output
    for part in ("version 1", "1 Added, s1 1, 2026-01-01 12:00:00", "no row → ", "as folded"):
        assert part in shown.output
    page = await _refold("explain", "counting", "a", "--limit", "1")
    assert "there are more events: --after 1" in page.output
    told = json.loads((await _refold("explain", "counting", "a", "--json")).stdout)
    assert [step["event"]["position"] for step in told["versions"][0]["events"]] == [1, 2]
    assert (told["live"]["is_right"], told["versions"][0]["more_after"]) == (True, None)
    wrong = await _refold("explain", "counting", "a", "--version", "9")
    assert (wrong.exit_code, "expected one that is registered (1), got 9" in wrong.output) == (
        1,
        True,
    )
    two = await _refold("explain", "counting", "a", "b")
    assert "expected 1 value(s), for key, got 2" in two.output
    rows = await _refold("rows", "counting")
    assert [line.split()[0] for line in rows.output.splitlines()] == ["key", "a", "b"]
    assert "see --limit" in (await _refold("rows", "counting", "--limit", "1")).output
    (one,) = json.loads((await _refold("rows", "counting", "a", "--json")).stdout)
    assert one["key"] == "a"
    event = await _refold("events", "show", "3")
    assert str(2**70) in event.output
    gone = await _refold("events", "show", "4")
    assert (gone.exit_code, "expected that of an event, got 4" in gone.output) == (1, True)
    file = tmp_path / "events.ndjson"
    file.write_text("".join(
        json.dumps({"stream_id": stream, "type": kind, "data": data}) + "\n"
        for stream, kind, data in added
    ))  # fmt: skip
    monkeypatch.delenv("REFOLD_DATABASE_URL")
    folded = await _refold("fold", "counting", "--from", str(file), "--json")
    (row,) = json.loads(folded.stdout)
    assert row == {name: row[name] for name in one}
    assert (row["key"], row["count"]) == ("a", 2)
