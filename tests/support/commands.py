"""The command `refold`, to its end: its exit status, and what it printed."""

from __future__ import annotations

import json
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.forked import ForkedProcess, refold
from tests.support.processes import ROOT, clean_environment


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """What it printed, parsed."""
        return json.loads(self.out)


def forked(
    *arguments: str, variables: dict[str, str], directory: Path = ROOT, timeout: float = 60
) -> Ended:
    """Runs `refold` to its end in a process that is forked: what it imports is there already."""
    with tempfile.TemporaryDirectory() as outputs:
        files = Path(outputs) / "out", Path(outputs) / "err"
        process = ForkedProcess(
            refold,
            arguments,
            directory=directory,
            environment=clean_environment(**variables),
            output=files,
        )
        try:
            status = process.wait(timeout)
        finally:
            process.send(signal.SIGKILL)
        return Ended(status, *(file.read_text() for file in files))
