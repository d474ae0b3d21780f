"""Several processes of some Python code, kept up as worker processes are."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from refold.runtime.command import run_command
from refold.runtime.leaving import leave
from refold.worker.processes.supervisor import Supervisor
from tests.support.forked import ForkedProcess
from tests.support.processes import ROOT, clean_environment

_PAUSE = 0.05


def supervise() -> None:
    """What the forked process does: CODE says how many processes, and of what."""
    count, code = json.loads(os.environ["CODE"])
    command = (sys.executable, "-c", code)
    leave(run_command(Supervisor(count, command=command, first_pause_seconds=_PAUSE).run))


class Supervised:
    """The process that keeps the others up."""

    def __init__(self, process: ForkedProcess, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What all of them have written."""
        return self._log.read_text(errors="replace")

    @property
    def ready(self) -> int:
        """How often one of them has said that it is."""
        return sum(line.startswith("ready") for line in self.log.splitlines())

    def pids(self, number: int) -> list[int]:
        """The processes that have had this number, in order."""
        return [int(pid) for pid in re.findall(rf"worker process {number}: pid (\d+)", self.log)]

    def all_pids(self) -> list[int]:
        """The processes that have had any number, in order."""
        return [int(pid) for pid in re.findall(r"worker process \d+: pid (\d+)", self.log)]


@contextmanager
def supervised(directory: Path, count: int, code: str, **environment: str) -> Iterator[Supervised]:
    """So many processes of this code, kept up until the context ends, however it ends."""
    log = directory / "supervised.log"
    log.touch()
    process = ForkedProcess(
        supervise,
        directory=ROOT,
        environment=clean_environment(CODE=json.dumps([count, code]), **environment),
        output=(log, log),
    )
    them = Supervised(process, log)
    try:
        yield them
    finally:
        process.send(signal.SIGKILL)
        process.wait(10)
        for pid in them.all_pids():  # a test that fails leaves none of them
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
