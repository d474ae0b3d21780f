"""PostgreSQL goes away and comes back, with the events, the read models or both.

Addresses that cannot work are told in one line.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.client import Client

from refold.source.port.current import OWN, using
from refold.stack.postgres import EmbeddedPostgres
from tests.support.counting import EVENTS_PER_KEY, counted_events, counting
from tests.support.databases import Database, drop_database, make_database, make_template
from tests.support.forked import ForkedProcess, worker
from tests.support.ports import free_port
from tests.support.processes import ROOT, clean_environment, worker_environment, worker_processes
from tests.support.runs import assert_oracle, leftovers, start, until, write
from tests.support.soaking import soak
from tests.support.watching import undone, until_batches

KEYS = 150


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that only this test knows, so that it may go away."""
    server = EmbeddedPostgres(tmp_path / "data", free_port())
    await asyncio.to_thread(server.start)
    await make_template(server)
    yield server
    await asyncio.to_thread(server.stop)


BOTH, EVENTS, MODELS = "both", "events-on-another-server", "models-on-another-server"
"""What goes away; what does not is on the session's server."""


@pytest.fixture
async def own_database(
    request: pytest.FixtureRequest, own_server: EmbeddedPostgres, template: EmbeddedPostgres
) -> AsyncIterator[Database]:
    made = await make_database(own_server)
    if request.param == BOTH:
        yield made
    else:
        stays = await make_database(template)
        models, log = (stays, made) if request.param == EVENTS else (made, stays)
        with using(OWN, log.url):
            yield replace(models, events_url=log.url)
        await models.engine.dispose()
        await drop_database(template, stays)
    await made.engine.dispose()


@pytest.mark.parametrize("own_database", [BOTH, *soak(EVENTS, MODELS)], indirect=True)
async def test_worker_outlives_postgres_away_at_its_start_and_in_a_rebuild(
    client: Client, own_server: EmbeddedPostgres, own_database: Database, tmp_path: Path
) -> None:
    engine = own_database.engine
    await write(engine, counted_events(KEYS))
    await engine.dispose()
    environment = worker_environment(
        client,
        own_database,
        REFOLD_PROJECTIONS="tests.support.counting",
        COUNT_FILE=str(tmp_path / "folds"),
    )
    await asyncio.to_thread(own_server.stop)
    with worker_processes(environment, tmp_path) as workers:
        started = workers.start()

        async def has_complained() -> bool:
            return "does not answer" in started.output

        await until(has_complained)
        assert started.running, started.output
        await asyncio.to_thread(own_server.start)
        handle = await start(
            client,
            own_database,
            "Rebuild",
            {"projection": "counting"},
            workflow_id=f"restart/{own_database.url}",
        )
        await until_batches(own_database, 3)
        assert await undone(engine) > 0
        await engine.dispose()
        await asyncio.to_thread(own_server.restart)
        result = await asyncio.wait_for(handle.result(), 150)
        assert (result.status, result.events_processed) == ("completed", KEYS * EVENTS_PER_KEY)
        assert await started.terminate() == 0, started.output
    assert len(await assert_oracle(engine, counting)) == KEYS
    assert await leftovers(engine) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "REFOLD_DATABASE_URL is not set"),
        *soak(
            ("", "REFOLD_DATABASE_URL is not set"),
            ("no address at all", "something that is not a URL"),
            ("mysql://me:secret@127.0.0.1/shop", "got one for 'mysql'"),
        ),
        ("{server}/no_such_database", 'database "no_such_database" does not exist'),
        ("postgresql://nobody:secret@{address}/refold", 'role "nobody" does not exist'),
    ],
    ids=["unset", "empty", "malformed", "other-server", "wrong-database", "wrong-user"],
)
def test_address_that_cannot_work_is_told_in_one_line(
    postgres: EmbeddedPostgres, tmp_path: Path, url: str | None, expected: str
) -> None:
    server = postgres.url.rsplit("/", 1)[0]
    variables = {}
    if url is not None:
        address = server.rsplit("@", 1)[1]
        variables["REFOLD_DATABASE_URL"] = url.format(server=server, address=address)
    out, err = tmp_path / "out", tmp_path / "err"
    process = ForkedProcess(
        worker, directory=ROOT, environment=clean_environment(**variables), output=(out, err)
    )
    try:
        assert process.wait(30) == 1
    finally:
        process.send(signal.SIGKILL)
    assert out.read_text() == ""
    told = err.read_text()
    assert len(told.splitlines()) == 1, told
    assert told.startswith("refold: REFOLD_DATABASE_URL")
    assert expected in told
    assert "secret" not in told
