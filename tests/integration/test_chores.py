"""Chores stand alone: an item that cannot be done keeps nothing else back, and is heard once."""

from __future__ import annotations

import asyncio
import logging

import pytest
from temporalio.client import Client
from typer.testing import CliRunner

from refold.cli.main import app
from refold.projection.registry import Registry
from refold.store import generations, left_behind, system_events
from refold.system_events.events import ProjectionStopped
from refold.worker.assembly import make_chores
from refold.worker.chores.caretaker import Caretaker
from refold.worker.chores.chore import Looked
from refold.worker.chores.retention import Retention, SnapshotRetention
from refold.worker.chores.sweep import Sweep
from refold.worker.executions import TemporalExecutions
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.live import until_status
from tests.support.runs import assert_oracle, leftovers, run, start, until, working
from tests.support.soaking import soak

PROJECTION = counters()


async def execute(database: Database, *statements: str) -> None:
    async with database.engine.begin() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


async def left(database: Database, projection: str = "counters") -> list[tuple[str, str]]:
    async with database.engine.connect() as connection:
        found = await left_behind.of_projection(connection, projection)
    return [(one.item, one.reason) for one in found]


async def awaiting(client: Client, database: Database) -> str:
    """A run whose new table awaits approval; returns its id and the new table's schema."""
    handle = await start(
        client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
    )
    await until_status(handle, "awaiting_approval")
    await handle.terminate()
    return str(handle.result_run_id)


HANGS = {
    "a view": (
        "CREATE VIEW mine AS SELECT * FROM refold_counters_g2.counters",
        "DROP VIEW mine",
        "view mine depends on",
    ),
    "another table in its schema": (
        "CREATE TABLE refold_counters_g2.mine (n int)",
        "DROP TABLE refold_counters_g2.mine",
        "table refold_counters_g2.mine depends on",
    ),
}


@pytest.mark.usefixtures("counters_built")
@pytest.mark.parametrize("what", ["a view", *soak("another table in its schema")])
async def test_a_dead_run_that_cannot_be_dropped_is_in_nobodys_way(
    client: Client, database: Database, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, gone, told = HANGS[what]
    async with working(client, database, registry_of(PROJECTION)):
        await awaiting(client, database)
        await execute(database, hung)
        caretaker = Caretaker(database.engine, [])
        sweep = Sweep(database.engine, TemporalExecutions(client))
        for _ in range(2):
            await caretaker.see_to(sweep)
            ((item, reason),) = await left(database)
            assert item == "generation 2"
            assert told in reason
        monkeypatch.setenv("REFOLD_DATABASE_URL", database.url)
        monkeypatch.setenv("REFOLD_PROJECTIONS", "tests.support.mortal")
        shown = await asyncio.to_thread(CliRunner().invoke, app, ["status", "counters"])
        assert "counters: generation 2, since " in shown.output
        assert told in " ".join(shown.output.split())
        # Its projection is free, while its table is left behind.
        assert (await run(client, database, "Rebuild", "counters")).generation == 3
        await execute(database, gone)
        await caretaker.see_to(sweep)
    assert await left(database) == []
    assert await leftovers(database.engine) == []
    await assert_oracle(database.engine, PROJECTION)


@pytest.mark.usefixtures("counters_built")
async def test_a_run_that_is_cancelled_does_not_wait_for_what_hangs_on_its_table(
    client: Client, database: Database
) -> None:
    async with working(client, database, registry_of(PROJECTION)):
        handle = await start(
            client, database, "Rebuild", {"projection": "counters", "approval": "manual"}
        )
        await until_status(handle, "awaiting_approval")
        await execute(database, HANGS["a view"][0])
        await handle.signal("reject")
        assert (await asyncio.wait_for(handle.result(), 30)).status == "cancelled"
        await execute(database, HANGS["a view"][1])
        await Sweep(database.engine, TemporalExecutions(client)).run_once()
    assert await leftovers(database.engine) == []


class Broken:
    name = "broken"
    seconds = 60.0

    def __init__(self) -> None:
        self.error: BaseException | None = None

    async def run_once(self) -> Looked:
        if self.error is not None:
            raise self.error
        return Looked()


async def test_what_is_in_the_way_is_said_once_until_it_changes(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Process ids and ports change each time: that is no change."""
    caplog.set_level(logging.INFO, logger="refold.worker")
    caretaker, broken = Caretaker(database.engine, []), Broken()
    for error in [
        *(OSError(f"connect to 127.0.0.1:{port} refused") for port in (7233, 41234, 7)),
        None,
        None,
        OSError("connect to 127.0.0.1:7233 refused"),
        OSError("no route to host"),
    ]:
        broken.error = error
        await caretaker.see_to(broken)
    assert [record.getMessage() for record in caplog.records] == [
        "broken: OSError: connect to 127.0.0.1:7233 refused",
        "broken: not in the way any more",
        "broken: OSError: connect to 127.0.0.1:7233 refused",
        "broken: OSError: no route to host",
    ]


async def test_a_chore_that_is_cancelled_from_within_is_begun_anew(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken()
    broken.error, broken.seconds = asyncio.CancelledError(), 0.01
    working = asyncio.create_task(Caretaker(database.engine, [broken]).work())

    async def said_twice() -> bool:
        said = [record.getMessage() for record in caplog.records]
        return said[:2] == ["broken: cancelled from within, and begun anew"] * 2

    await until(said_twice)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working


@pytest.mark.usefixtures("counters_built")
async def test_without_temporal_each_chore_says_so_once_and_the_others_go_on(
    client: Client, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with working(client, database, registry_of(PROJECTION)):
        run_id = await awaiting(client, database)
    # The worker is gone, so nothing more is recorded of the run.
    stopped = ProjectionStopped(projection="counters")
    async with database.engine.begin() as connection:
        await system_events.record(connection, stopped)
    await execute(
        database, "UPDATE refold.system_events SET recorded_at = now() - interval '31 days'"
    )
    # A client that has never reached its server; one that has lost it gets RPC errors.
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)
    chores = make_chores(nowhere, database.engine, registry_of(PROJECTION), database.settings)
    caretaker = Caretaker(database.engine, [])
    for _ in range(2):
        for chore in chores:
            await caretaker.see_to(chore)
    said = [record.getMessage() for record in caplog.records if record.name == "refold.worker"]
    reason = "Temporal does not answer (never connected)"
    assert said == [f"sweep: counters run {run_id}: {reason}"]
    assert await left(database) == [(f"run {run_id}", reason)]
    async with database.engine.connect() as connection:
        assert await system_events.latest(connection, "counters", limit=10) == []


@pytest.mark.usefixtures("counters_built")
async def test_retention_goes_on_beside_what_cannot_be_dropped(
    client: Client, database: Database
) -> None:
    async with working(client, database, registry_of(counters(retained_generations=5))):
        for _ in range(2):
            await run(client, database, "Rebuild", "counters")
    await execute(database, "CREATE VIEW mine AS SELECT * FROM refold_counters_g2.counters")
    none_kept = registry_of(counters(retained_generations=0))
    caretaker = Caretaker(database.engine, [])
    await caretaker.see_to(Retention(database.engine, none_kept))
    await caretaker.see_to(SnapshotRetention(database.engine, none_kept))
    ((item, reason),) = await left(database)
    assert item == "generation 2"
    assert "view mine depends on" in reason
    async with database.engine.connect() as connection:
        retained = await generations.of_status(connection, "counters", generations.RETAINED)
    assert [one.generation for one in retained] == [2]
    # A worker that does not have the projection knows nothing of it.
    await caretaker.see_to(Retention(database.engine, Registry([])))
    assert [item for item, _ in await left(database)] == ["generation 2"]
