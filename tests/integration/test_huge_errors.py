"""Errors of some MB, and those that end processes, end a run with a few words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, text
from temporalio.client import Client

from refold import BackfillPolicy, Event, Projection, Row
from refold.messages.live import LiveHealth
from refold.requests.poison_policy import OnPoison
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.histories import kept
from tests.support.letters import failed, letters
from tests.support.live import live, until_status
from tests.support.runs import run, start, working, write
from tests.support.soaking import mostly_soak
from tests.unit.test_peoples_code import RAISED

HUGE = "é" * 4_000_000


def _raising(error: Callable[[], BaseException]) -> Callable[[Row | None, Event], Row]:
    def handler(row: Row | None, event: Event) -> Row:
        if event.data["n"] == 0:
            return {"count": 1}
        raise error()

    return handler


def _projection(
    handler: Any, key: Any = "data.key", on_poison: OnPoison | None = None
) -> Projection:
    table = Table(
        "huge", MetaData(), Column("key", String(20), primary_key=True), Column("count", Integer)
    )
    made = Projection("huge", table=table, key=key, backfill=BackfillPolicy(on_poison=on_poison))
    made.on("Added")(handler)
    return made


def _fine(row: Row | None, event: Event) -> Row:
    return {"count": 1}


def _leaving(event: Event) -> str:
    raise GeneratorExit


SMALL = [("s1", "Added", {"key": "k1", "n": 0})]
BAD = ("s2", "Added", {"key": "k2", "n": 1})
CASES: dict[str, tuple[Projection, tuple[str, str, dict[str, Any]]]] = {
    "a huge message": (_projection(_raising(lambda: ValueError(HUGE))), BAD),
    "a huge type": (_projection(_raising(type("E" * 100_000, (Exception,), {}))), BAD),
    "exit": (_projection(_raising(SystemExit)), BAD),
    "a cancellation": (_projection(_raising(asyncio.CancelledError)), BAD),
    "a key function": (_projection(_fine, key=_leaving), BAD),
    "a huge key": (_projection(_fine), ("s2", "Added", {"key": HUGE, "n": 1})),
    "a huge stream": (
        _projection(_raising(lambda: ValueError("no"))),
        ("s" * 100_000, "Added", {"key": "k2", "n": 1}),
    ),
}


@pytest.mark.parametrize("name", mostly_soak(*CASES, suite=3))
async def test_a_run_ends_with_a_few_words(client: Client, database: Database, name: str) -> None:
    projection, bad = CASES[name]
    await write(database.engine, [*SMALL, bad])
    async with working(client, database, registry_of(projection)):
        handle = await start(client, database, "Rebuild", {"projection": "huge"})
        failure = await failed(handle)
        assert failure.type == "PoisonEvent"
        assert len(failure.message.encode()) <= 2_000
        [place] = failure.details
        assert place["position"] in (1, 2)
        assert len(await kept(handle)) < 100_000
    async with database.engine.connect() as connection:
        size = "SELECT max(pg_column_size(e.*)) FROM refold.system_events e"
        assert int(await connection.scalar(text(size)) or 0) < 10_000


async def test_a_live_projection_fails_with_a_few_words_or_sets_aside(
    client: Client, database: Database
) -> None:
    handler = _raising(lambda: ValueError(HUGE))
    await write(database.engine, SMALL)
    async with working(client, database, registry_of(_projection(handler))):
        await run(client, database, "Backfill", "huge")
        async with live(client, database, projection="huge") as handle:
            await until_status(handle, "live")
            await write(database.engine, [("s" * 100_000, *BAD[1:])])
            await until_status(handle, "failed")
            health = await handle.query("health", result_type=LiveHealth)
            assert health.error is not None
            assert health.error.position == 2
            assert len(health.model_dump_json()) < 6_000
    aside = _projection(handler, on_poison=OnPoison.SET_ASIDE)
    async with working(client, database, registry_of(aside)):
        request = {"projection": "huge", "criteria": "incremental_update"}
        done = await start(client, database, "Backfill", request)
        assert (await asyncio.wait_for(done.result(), 60)).dead_letters == 1
    [letter] = await letters(database, "huge")
    assert len(letter.model_dump_json()) < 40_000
    assert (letter.position, len(letter.stream_id) < 300) == (2, True)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("error", RAISED, ids=lambda one: type(one).__name__)
async def test_whatever_is_raised_is_a_poison_event_in_every_phase(
    client: Client, database: Database, error: BaseException
) -> None:
    def again() -> BaseException:
        return error.with_traceback(None)

    projection = _projection(_raising(again))
    await write(database.engine, SMALL)
    async with working(client, database, registry_of(projection)):
        await run(client, database, "Rebuild", "huge")
        await write(database.engine, [BAD])
        for kind, criteria in (
            ("Rebuild", "full_rebuild"),
            ("Backfill", "full_rebuild"),
            ("Backfill", "incremental_update"),
        ):
            request = {"projection": "huge", "criteria": criteria}
            failure = await failed(await start(client, database, kind, request))
            assert failure.type == "PoisonEvent"
            assert type(error).__name__ in failure.message
        async with live(client, database, projection="huge") as handle:
            await until_status(handle, "failed")
