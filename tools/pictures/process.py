"""`refold web` as a process."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
_START_SECONDS = 60
_END_SECONDS = 20
_ADDRESS = re.compile(r"^http://\S+$", re.MULTILINE)


@contextmanager
def refold_web(
    environment: Mapping[str, str], output: Path, *options: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Runs `refold web` at a free port; yields the address that it has printed, and the process.

    It ends with SIGTERM, in good order.

    Args:
        environment: All of its variables.
        output: The file that gets what it prints.
        options: Such as ``--control``.

    Raises:
        RuntimeError: It has ended before it printed an address, or with another status than 0.
    """
    command = [sys.executable, "-m", "refold.cli.main", "web", "--port", "0", *options]
    with output.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while (found := _ADDRESS.search(output.read_text())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"refold web has not started: {output.read_text()}")
            time.sleep(0.05)
        yield found.group(), process
        process.send_signal(signal.SIGTERM)
        status = process.wait(_END_SECONDS)
        if status:
            raise RuntimeError(f"refold web: status {status}: {output.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
