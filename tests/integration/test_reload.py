"""`refold dev --reload`: what its workers do when files of a project change. Real processes."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from temporalio.client import Client

from refold.runtime.temporal.pollers import Pollers
from refold.stack.errors import StackError
from refold.stack.workers import changes
from refold.stack.workers.changes import Changes
from refold.stack.workers.pool import Workers
from tests.support.counters import counters
from tests.support.databases import Database
from tests.support.ports import free_port
from tests.support.processes import ROOT, clean_environment, worker_environment
from tests.support.runs import assert_oracle, queue, start, until, write
from tests.support.soaking import soak

_SLOW = """\
from time import sleep

from tests.support.counters import counters

made = counters(max_concurrency=1, batch_size=10)
right = made.handlers["Added"]


def slowly(row, event):
    sleep(0.03)
    return right(row, event)


made.handlers["Added"] = slowly


@made.on("Forgotten")
def forgets(row, event):
    pass
"""
_EVENTS = [(f"s{n % 7}", "Added", {"key": f"k{n % 9}", "n": n}) for n in range(200)]

_DONE = text("SELECT coalesce(sum(processed_events), 0) FROM refold.partitions")

Sees = Callable[[Callable[[], bool], str], Awaitable[None]]


class Project:
    """A folder with one module of read models, and a pool of workers that reloads it."""

    def __init__(self, folder: Path, client: Client, database: Database) -> None:
        self.file = folder / "models_of_reload.py"
        self.file.write_text(_SLOW)
        pollers = Pollers(client.service_client.config.target_host, queue(database))
        self.pool = Workers(
            folder / "data",
            1,
            changes=Changes([folder], without=[folder / "data"]),
            polls=pollers.have,
        )
        self.environment = worker_environment(
            client,
            database,
            REFOLD_PROJECTIONS="models_of_reload",
            PYTHONPATH=os.pathsep.join([str(folder), str(ROOT)]),
        )


@pytest.fixture
async def project(tmp_path: Path, client: Client, database: Database) -> AsyncIterator[Project]:
    (tmp_path / "data").mkdir()
    made = Project(tmp_path, client, database)
    made.pool.start(made.environment)
    yield made
    await asyncio.to_thread(made.pool.stop)


@pytest.fixture
async def sees(project: Project) -> AsyncIterator[Sees]:
    """Waits for a condition, while somebody checks the workers as `refold dev` does."""
    with ThreadPoolExecutor(1) as thread:

        async def until(condition: Callable[[], bool], what: str) -> None:
            deadline = time.monotonic() + 60
            while not condition():
                assert time.monotonic() < deadline, f"not within 60 s: {what}"
                await asyncio.get_running_loop().run_in_executor(thread, project.pool.check)
                await asyncio.sleep(0.1)

        yield until


async def _is_half_done(database: Database) -> bool:
    async with database.engine.connect() as connection:
        return 0 < int(await connection.scalar(_DONE) or 0) < len(_EVENTS)


async def test_a_run_survives_reloads_and_a_file_that_cannot_be_imported(
    client: Client,
    database: Database,
    project: Project,
    sees: Sees,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="refold.stack")
    await sees(lambda: "worker 1 is ready: pid" in caplog.text, "a worker that polls")
    first = project.pool.pids
    assert re.search(r"worker 1: \S+models_of_reload.py:\d+: NoRowReturned: counters", caplog.text)
    await write(database.engine, _EVENTS)
    handle = await start(client, database, "Rebuild", {"projection": "counters"})
    await until(lambda: _is_half_done(database))

    project.file.write_text(_SLOW + "\n\ndef made(:\n")
    await sees(lambda: "cannot start" in caplog.text, "a worker that cannot start")
    told = [one.getMessage() for one in caplog.records if "cannot start" in one.getMessage()]
    line = _SLOW.count("\n") + 3
    (said,) = told
    assert re.search(rf"/models_of_reload\.py:{line}: invalid syntax", said), said
    assert "exit code" not in said
    before = caplog.text
    for _ in range(15):  # it tries again when something changes, not before
        await asyncio.to_thread(project.pool.check)
        await asyncio.sleep(0.1)
    assert project.pool.pids == []
    assert caplog.text == before

    project.file.write_text(_SLOW)
    await sees(lambda: caplog.text.count("is ready: pid") == 2, "the next worker")
    assert project.pool.pids != first
    assert "models_of_reload.py changed: workers are started anew" in caplog.text
    await handle.result()
    await assert_oracle(database.engine, counters())


def test_what_changes_is_told_once_when_it_has_settled(tmp_path: Path) -> None:
    (tmp_path / "app/inner").mkdir(parents=True)
    for without in (".hidden", "__pycache__", "data", "env"):
        (tmp_path / without).mkdir()
    (tmp_path / "env/pyvenv.cfg").touch()
    (tmp_path / "app/again").symlink_to(tmp_path / "app", target_is_directory=True)
    seen = Changes([tmp_path], without=[tmp_path / "data"])
    assert seen.settled() == []

    def write_file(name: str, text: str = "") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    first = write_file("app/inner/orders.py")
    assert seen.settled() == []
    second = write_file("app/inner/customers.py")
    assert seen.settled() == []
    assert seen.settled() == sorted([first, second])
    assert seen.settled() == []

    write_file("app/inner/orders.py", "longer")
    (tmp_path / "app/inner/customers.py").unlink()
    seen.settled()
    assert seen.settled() == sorted([first, second])

    for ignored in (".hidden/a.py", "__pycache__/a.py", "data/a.py", "env/a.py", "app/a.txt"):
        write_file(ignored)
    seen.settled()
    assert seen.settled() == []


def test_too_many_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MOST_FOLDERS", 2)
    for name in "abc":
        (tmp_path / name).mkdir()
    with pytest.raises(StackError, match="start it in the folder of the project"):
        Changes([tmp_path])


@pytest.mark.parametrize("number", soak(signal.SIGINT, signal.SIGTERM))
def test_the_command_starts_workers_anew(tmp_path: Path, number: signal.Signals) -> None:
    project, log = tmp_path / "shop", tmp_path / "dev.log"
    begun = subprocess.run(
        [sys.executable, "-m", "refold.cli.main", "init", "shop"],
        cwd=tmp_path,
        env=clean_environment(),
        check=False,
    )
    assert begun.returncode == 0
    ports = str(free_port(3))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "refold.cli.main", "dev", "--reload", "--port-base", ports],
            cwd=project,
            env=clean_environment(),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _until(lambda: "worker 1 is ready" in log.read_text(), log)
        (file,) = (project / "projections").glob("stock*.py")
        right = file.read_text()
        file.write_text(right.replace('key="', 'key="no.'))
        place = f"projections/{file.name}"
        _until(lambda: re.search(rf"cannot start: {place}:\d+: ", log.read_text()), log)
        file.write_text(right)
        _until(lambda: log.read_text().count("worker 1 is ready") == 2, log)
        process.send_signal(number)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait(10)


def _until(condition: Callable[[], object], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
