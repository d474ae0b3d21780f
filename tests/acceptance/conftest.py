"""One `refold dev` for all acceptance tests, with three months of a real shop in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

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
def shop_events(dev: DevStack) -> int:
    """Imports the real events; returns how many."""
    if not REAL_EVENTS.exists():
        pytest.skip(f"{REAL_EVENTS} is not here")
    imported = dev.refold("events", "import", str(REAL_EVENTS), "--json", timeout=120)
    assert imported.status == 0, imported.err
    return int(imported.json()["events"])
