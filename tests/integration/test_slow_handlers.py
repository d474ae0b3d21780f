"""Handlers that are slow, or never return, beside quick ones in one worker."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import BackfillPolicy, Event, Projection, Row
from refold.engine.folding import follower, pacing
from refold.runtime import threads
from tests.support.counters import counters, registry_of, siblings
from tests.support.databases import Database
from tests.support.live import live, until_position, until_status
from tests.support.runs import assert_oracle, checkpoint, run, start, until, working, write
from tests.support.soaking import soak

EVENTS = [(f"s{n % 7}", "Added", {"key": f"k{n % 3}", "n": n}) for n in range(24)]
AT = 17

# Handlers are as quick as any others until this is set.
_armed = threading.Event()


def turns_round(event: Event) -> None:
    while _armed.is_set() and event.data["n"] == AT:
        pass


def never_gives_up(event: Event) -> None:
    while _armed.is_set() and event.data["n"] == AT:
        try:
            sum(range(100))
        except Exception:
            continue


def waits(event: Event) -> None:
    if event.data["n"] == AT:
        while _armed.is_set():
            # Python looks at nothing meanwhile: what is raised in the thread comes afterwards.
            threading.Event().wait(0.8)


def takes_its_time(event: Event) -> None:
    if _armed.is_set():
        threading.Event().wait(0.05)


@pytest.fixture(autouse=True)
def _quick_again() -> Iterator[None]:
    yield
    _armed.clear()


def slowed(slow: Callable[[Event], None]) -> Projection:
    right = counters()
    made = Projection(
        "counters",
        table=right.table,
        key="data.key",
        backfill=BackfillPolicy(batch_size=100_000),
    )

    @made.on("Added")
    def added(row: Row | None, event: Event) -> Row | None:
        slow(event)
        return right.handlers["Added"](row, event)

    return made


async def committed(database: Database, kind: str) -> int:
    """How many events are in committed batches, while a run is at work."""
    sql = "SELECT coalesce(sum(processed_events), 0) FROM refold.partitions"
    if kind == "incremental":
        sql = "SELECT position FROM refold.generations WHERE status = 'active'"
    async with database.engine.connect() as connection:
        return int(await connection.scalar(text(sql)) or 0)


@pytest.mark.parametrize("kind", ["Rebuild", *soak("incremental", "Backfill")])
async def test_a_slow_handler_commits_by_time_however_large_a_batch_is(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(threads, "PIECE_SECONDS", 0.2)
    monkeypatch.setattr(pacing, "PIECE_SECONDS", 0.2)
    monkeypatch.setattr(follower, "PIECE_SECONDS", 0.2)
    projection = slowed(takes_its_time)
    fields = {"criteria": "incremental_update"} if kind == "incremental" else {}
    async with working(client, database, registry_of(projection)):
        if kind != "Rebuild":
            await write(database.engine, EVENTS[:1] if fields else EVENTS)
            await run(client, database, "Rebuild", "counters")
        if kind != "Backfill":
            await write(database.engine, EVENTS)
        before = await committed(database, kind)
        total = before + len(EVENTS)
        _armed.set()
        workflow = "Rebuild" if kind == "Rebuild" else "Backfill"
        handle = await start(
            client, database, workflow, {"projection": "counters", **fields}, workflow_id=ident()
        )
        seen = set()
        while not (ended := (await handle.describe()).status != WorkflowExecutionStatus.RUNNING):
            seen.add(await committed(database, kind))
            await asyncio.sleep(0.05)
        assert ended
        await handle.result()
    _armed.clear()
    assert [one for one in seen if before < one < total], seen
    await assert_oracle(database.engine, projection)


@pytest.mark.parametrize(
    ("kind", "slow"),
    [
        ("Rebuild", never_gives_up),
        *soak(
            ("Backfill", waits),
            ("Rebuild", turns_round),
            ("Rebuild", waits),
            ("Backfill", turns_round),
        ),
    ],
)
async def test_a_run_whose_handler_never_returns_is_named_and_others_are_done(
    client: Client, database: Database, slow: Callable[[Event], None], kind: str
) -> None:
    projection, others = slowed(slow), siblings()
    await write(database.engine, EVENTS)
    async with working(client, database, registry_of(projection, *others), handler_seconds=1):
        if kind == "Backfill":
            await run(client, database, "Rebuild", "counters")
        _armed.set()
        endless = await start(client, database, kind, {"projection": "counters"})
        for other in others:
            quick = await start(
                client, database, "Rebuild", {"projection": other.name}, workflow_id=ident()
            )
            await quick.result()
        with pytest.raises(WorkflowFailureError) as failed:
            await endless.result()
        assert_named(failed.value.cause, slow)
    for other in others:
        await assert_oracle(database.engine, other)
    _armed.clear()
    if kind == "Backfill":
        await assert_oracle(database.engine, projection)


@pytest.mark.parametrize("slow", [waits, *soak(turns_round)])
async def test_a_live_projection_whose_handler_never_returns_is_named_and_others_go_on(
    client: Client, database: Database, slow: Callable[[Event], None]
) -> None:
    projection, other = slowed(slow), siblings()[0]
    await write(database.engine, EVENTS[:5])
    async with working(client, database, registry_of(projection, other), handler_seconds=1):
        for one in (projection, other):
            await (
                await start(
                    client, database, "Rebuild", {"projection": one.name}, workflow_id=ident()
                )
            ).result()
        async with (
            live(client, database) as endless,
            live(client, database, projection=other.name) as quick,
        ):
            await until_status(quick, "live")
            await until_status(endless, "live")
            _armed.set()
            await write(database.engine, EVENTS[5:])
            await until_status(endless, "failed")
            error = (await endless.query("health"))["error"]
            assert error["type"] == "HandlerOverdue"
            assert error["position"] == AT + 1
            assert_said(error["message"], slow)
            position = len(EVENTS)

            async def followed() -> bool:
                return await checkpoint(database.engine, other) == position

            await until(followed)
            await write(database.engine, [("s1", "Added", {"key": "k1", "n": 1})])
            position += 1
            await until(followed)
            _armed.clear()
            await endless.signal("restart")
            await until_position(database, position)
    for one in (projection, other):
        await assert_oracle(database.engine, one)


async def test_a_call_that_lasts_is_told_while_it_does_and_ends_well(
    client: Client,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In the progress of a run, in the health of a live projection, and in the log; once."""
    monkeypatch.setattr(threads, "LASTING_SECONDS", 0.3)
    projection = slowed(waits)
    await write(database.engine, EVENTS)
    async with working(client, database, registry_of(projection), handler_seconds=60):
        _armed.set()
        handle = await start(client, database, "Rebuild", {"projection": "counters"})
        assert_lasting(await told(lambda: handle.query("progress"), "waiting_for"), AT + 1)
        assert caplog.text.count("waiting for the code of projection 'counters' to return") == 1
        _armed.clear()
        await handle.result()
        assert (await handle.query("progress"))["waiting_for"] == []
        async with live(client, database) as following:
            await until_status(following, "live")
            _armed.set()
            await write(database.engine, EVENTS)
            position = len(EVENTS) + AT + 1
            assert_lasting(await told(lambda: following.query("health"), "waiting_for"), position)
            _armed.clear()
            await until_position(database, 2 * len(EVENTS))
    await assert_oracle(database.engine, projection)


async def told(ask: Callable[[], Awaitable[Any]], what: str) -> str:
    """What is answered, as soon as it is something."""
    found: list[str] = []

    async def is_told() -> bool:
        found[:] = (await ask())[what]
        return bool(found)

    await until(is_told)
    (line,) = found
    return line


def assert_lasting(line: str, position: int) -> None:
    begin = f"the code of projection 'counters' to return: it has had event {position} (Added) in"
    assert line.startswith(begin), line
    place = r"stands at \S+/test_slow_handlers\.py:\d+ \(added\), in \S+:\d+ \(\w+\)"
    assert re.search(r"since \d\d:\d\d:\d\d UTC, and " + place, line), line
    assert line.endswith("; after 60 s it is ended (REFOLD_HANDLER_SECONDS)"), line


def ident() -> str:
    return f"slow/{uuid4().hex}"


def assert_named(cause: BaseException | None, slow: Callable[[Event], None]) -> None:
    assert isinstance(cause, ApplicationError)
    assert cause.type == "HandlerOverdue"
    assert cause.non_retryable
    assert_said(cause.message, slow)


def assert_said(message: str, slow: Callable[[Event], None]) -> None:
    """It names the projection, the event, and file and line where the handler stands."""
    assert f"projection 'counters' does not come to an end with event {AT + 1} " in message
    assert "(Added of stream 's3')" in message
    assert re.search(r"stands at \S+/test_slow_handlers\.py:\d+ \(added\), in ", message)
    if slow is turns_round:
        # Of the two, whichever it is in when it is looked at.
        assert re.search(r"\((turns_round|is_set)\)", message)
