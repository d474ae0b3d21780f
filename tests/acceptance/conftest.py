"""One `refold dev` for all acceptance tests, with three months of a real shop in it."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice

import psutil
import pytest

from tests.acceptance.stack import DevStack
from tests.conftest import REAL_EVENTS
from tests.support.ports import free_port
from tests.support.processes import ROOT, clean_environment


@pytest.fixture(scope="package")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevStack]:
    """A running `refold dev`; it must end with status 0 on SIGTERM and leave nothing running."""
    data_dir = tmp_path_factory.mktemp("dev") / "data"
    log = data_dir.with_suffix(".log")
    command = [sys.executable, "-m", "refold.cli.main", "dev"]
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
        yield DevStack(dict(line.split("=", 1) for line in lines), process)
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


_SOME = 15_000


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
