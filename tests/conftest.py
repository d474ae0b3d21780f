"""The servers that tests run on: one PostgreSQL and one Temporal a session, both real."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from xdist.scheduler import LoadFileScheduling

from refold.projection.registry import Registry, load_registry
from refold.runtime.garbage import calm_garbage_collector
from refold.stack.postgres import EmbeddedPostgres
from refold.stack.temporal import SETTINGS
from tests.support.built import COUNTERS_BUILT, make_counters_built
from tests.support.checkpoint_stores import STORES, StoreServers, environment
from tests.support.databases import TEMPLATE, Database, drop_database, make_database, make_template
from tests.support.elsewhere import HERE, EventsServer, events_in
from tests.support.own_directory import own_directory
from tests.support.ports import free_port
from tests.support.stored import Stored
from tests.support.transitions import illegal, watched_statuses

REAL_EVENTS = (
    Path(__file__).parents[2] / "shared/data/online-retail/events-2010-12_2011-02.ndjson.gz"
)
FAULTS = Path(__file__).parents[2] / "shared/data/faults"


# How long an example takes says nothing here: several processes share the processors.
settings.register_profile("refold", deadline=None)
settings.load_profile("refold")

# No test takes the power away: PostgreSQL finds what it has written again without fsync. The kernel
# copies databases, in a third of the time.
_UNSAFE = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
    "file_copy_method": "clone",
}

# Several Temporal servers share the processors with the tests. On one thread each, collecting
# garbage seldom, they take a sixth less.
os.environ.update(GOMAXPROCS="1", GOGC="800")

# What a few tests need that would take a server of their own otherwise.
_TWO_PHASE = {"max_prepared_transactions": "5"}

# What tests are made of is no garbage; see `pytest_collection_finish`.
gc.disable()

_DROPPING: set[asyncio.Task[None]] = set()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the session, in a directory that no other session touches."""
    with own_directory("refold-suite-") as directory:
        server = EmbeddedPostgres(directory, free_port(), {**_UNSAFE, **_TWO_PHASE})
        server.start()
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def legal_transitions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test whose workflows go from one status to another that may not follow it."""
    if "unit" in request.path.parts:
        yield  # the table is given what it is to refuse
        return
    with watched_statuses() as seen:
        yield
    assert illegal(seen) == []


@pytest.fixture(scope="session")
async def template(postgres: EmbeddedPostgres) -> AsyncIterator[EmbeddedPostgres]:
    """The server, with a migrated database to copy."""
    await make_template(postgres)
    yield postgres
    await asyncio.gather(*_DROPPING, return_exceptions=True)  # the server goes anyway


@pytest.fixture(scope="session")
async def counters_built(template: EmbeddedPostgres, temporal: WorkflowEnvironment) -> None:
    """A read model to begin with: a test that uses this has a database in which a run built it.

    It is `counters` of the 200 events of `some()`. A test that is about what comes later need not
    build it: copied, it costs a tenth.
    """
    await make_counters_built(template, temporal.client)


@pytest.fixture(scope="session")
def events_server() -> Iterator[EventsServer]:
    """Another PostgreSQL server, for events, started when it is first asked for."""
    with own_directory("refold-suite-") as directory:
        server = EventsServer(directory, _UNSAFE)
        yield server
        server.stop()


@pytest.fixture
async def database(
    request: pytest.FixtureRequest, template: EmbeddedPostgres, events_server: EventsServer
) -> AsyncIterator[Database]:
    """A fresh, migrated database; its events are in another place, if a parameter says so.

    With `counters_built`, a read model stands there.
    """
    is_built = "counters_built" in request.fixturenames
    made = await make_database(template, COUNTERS_BUILT if is_built else TEMPLATE)
    async with events_in(getattr(request, "param", HERE), made, template, events_server) as placed:
        yield placed
    await made.engine.dispose()
    # It is dropped while the next test runs: that takes as long as making it.
    dropping = asyncio.create_task(drop_database(template, made))
    _DROPPING.add(dropping)
    dropping.add_done_callback(_dropped)


def _dropped(dropping: asyncio.Task[None]) -> None:
    """Takes the task's exception: a database that could not be dropped goes with its server."""
    _DROPPING.discard(dropping)
    if not dropping.cancelled():
        dropping.exception()


@pytest.fixture(scope="session")
def store_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServers]:
    """Servers that keep checkpoints, each started when it is first asked for."""
    with ExitStack() as stack:
        yield StoreServers(stack, tmp_path_factory.mktemp("stores"))


@pytest.fixture
def stored(
    database: Database, store_servers: StoreServers, monkeypatch: pytest.MonkeyPatch
) -> Stored:
    """A database whose live projections may keep their checkpoints in stores."""
    for store in STORES:
        for name, value in environment(store).items():
            monkeypatch.setenv(name, value)
    return Stored(database, store_servers)


# A workflow is deleted once the server has noted that its end is done with: every ten seconds.
_SOON_DELETED = (
    'history.transferProcessorUpdateAckInterval="1s"',
    'history.visibilityProcessorUpdateAckInterval="1s"',
)


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    """A Temporal server for the session."""
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=shutil.which("temporal", path=_beside_python()),
        data_converter=pydantic_data_converter,
        dev_server_log_level="error",
        dev_server_extra_args=[
            part
            for setting in (*SETTINGS, *_SOON_DELETED)
            for part in ("--dynamic-config-value", setting)
        ],
    ) as environment:
        yield environment


def _beside_python() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


@pytest.fixture
def client(temporal: WorkflowEnvironment) -> Client:
    """A client of the session's Temporal server."""
    return temporal.client


@pytest.fixture(scope="session")
def shop() -> Registry:
    """The sample projections."""
    return load_registry(["projections"])


class _Unretrieved(logging.Handler):
    """What asyncio and Temporal say of tasks whose exception nobody took."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "never retrieved" in record.getMessage():
            self.said.append(record.getMessage())


_UNRETRIEVED = _Unretrieved()


@pytest.fixture(autouse=True)
def every_task_is_awaited() -> Iterator[None]:
    """Fails the test in which it is found that a task's exception was never retrieved."""
    for name in ("asyncio", "temporalio.worker._workflow_instance"):
        logging.getLogger(name).addHandler(_UNRETRIEVED)  # once, however often it is added
    _UNRETRIEVED.said.clear()
    yield
    assert _UNRETRIEVED.said == []


class _ByFile(LoadFileScheduling):  # type: ignore[misc]
    """A file's tests in one process, and those of `refold dev` all in one: it is started once."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "dev" if file.startswith("tests/acceptance/") and file not in _ALONE else file


_ALONE = ("tests/acceptance/test_steering.py",)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFile:
    """How tests are given to processes."""
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that no process is left alone with it at the end.

    On `refold dev` there are few events at first; all of them come with the last of its files.
    """
    items.sort(key=lambda item: (_turn(item.nodeid), _LAST in item.nodeid))


def _turn(nodeid: str) -> int:
    return 0 if nodeid.startswith(_LONG) else _ORDER.get(nodeid.split("/")[1], 1)


def pytest_collection_finish() -> None:
    """What is imported by now stays: as in a worker, nobody looks for garbage among it."""
    gc.enable()
    calm_garbage_collector()


_LAST = "acceptance/test_real_events.py"
_LONG = "tests/unit/test_hostile_predicates.py"
_ORDER = {"acceptance": 0, "chaos": 0, "replay": 0, "unit": 2}
