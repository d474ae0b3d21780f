"""One `refold dev` for all acceptance tests, with three months of a real shop in it."""

from __future__ import annotations

import asyncio
import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import psutil
import pytest

from refold.store.roles.names import Roles
from tests.acceptance.stack import DevStack
from tests.conftest import REAL_EVENTS
from tests.support.ports import free_port
from tests.support.processes import ROOT, WorkerProcess, clean_environment
from tests.support.roles import allow_nothing, url_of_role
from tests.support.soaking import mostly_soak


@pytest.fixture(scope="package", params=mostly_soak("roles", "owner", suite=1))
def dev(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DevStack]:
    """A running `refold dev`; it must end with status 0 on SIGTERM and leave nothing running.

    With roles, each command, the worker and whoever reads log in as a role of their own, which has
    the rights that `refold roles` gives it and no others.
    """
    data_dir = tmp_path_factory.mktemp("dev") / "data"
    log = data_dir.with_suffix(".log")
    command = [sys.executable, "-m", "refold.cli.main", "dev"]
    command += ["--workers", "0"] if request.param == "roles" else []
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--data-dir", data_dir, "--port-base", str(free_port(3))],
            cwd=ROOT,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while not (data_dir / "env").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        lines = (data_dir / "env").read_text().splitlines()
        started = DevStack(dict(line.split("=", 1) for line in lines), process)
        if request.param == "roles":
            with _with_roles(started, data_dir / "own-worker.log") as restricted:
                yield restricted
        else:
            yield started
        children = psutil.Process(process.pid).children(recursive=True)
        assert {"postgres", "temporal"} <= {child.name() for child in children}
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, log.read_text()
        _, left = psutil.wait_procs(children, timeout=5)
        assert not left
        assert not (data_dir / "env").exists()
        assert "Traceback" not in log.read_text()
    finally:
        if process.poll() is None:
            process.kill()  # its children die with it
            process.wait(10)


@contextmanager
def _with_roles(dev: DevStack, log: Path) -> Iterator[DevStack]:
    """The same with roles, and a worker that logs in as one of them."""
    asyncio.run(allow_nothing(dev.database_url))
    given = dev.refold("roles", "--apply")
    assert given.status == 0, given.err
    roles = Roles()
    variables = {
        **dev.variables,
        "REFOLD_DATABASE_URL": url_of_role(dev.database_url, roles.operator),
    }
    restricted = DevStack(variables, dev.process, roles)
    migrated = restricted.refold("migrate")
    assert migrated.status == 0, migrated.err
    worker = WorkerProcess(clean_environment(**restricted.variables_of("worker")), log)
    try:
        yield restricted
        assert asyncio.run(worker.terminate()) == 0, worker.output
        assert "permission denied" not in worker.output
    finally:
        if worker.running:
            worker.kill()


@pytest.fixture(scope="package")
def shop_events(dev: DevStack, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Imports the first of the real events; returns how many: enough for most tests."""
    return _imported(dev, tmp_path_factory, 0, _SOME)


@pytest.fixture(scope="package")
def all_shop_events(
    dev: DevStack, shop_events: int, tmp_path_factory: pytest.TempPathFactory
) -> int:
    """Imports the others, too; returns how many there are then."""
    return shop_events + _imported(dev, tmp_path_factory, _SOME, None)


_SOME = 3_000


def _imported(
    dev: DevStack, tmp_path_factory: pytest.TempPathFactory, first: int, end: int | None
) -> int:
    if not REAL_EVENTS.exists():
        pytest.skip(f"{REAL_EVENTS} is not here")
    part = tmp_path_factory.mktemp("shop") / f"from-{first}.ndjson"
    with gzip.open(REAL_EVENTS) as whole, part.open("wb") as some:
        some.writelines(islice(whole, first, end))
    imported = dev.refold("events", "import", str(part), "--json", timeout=120)
    assert imported.status == 0, imported.err
    return int(imported.json()["events"])
