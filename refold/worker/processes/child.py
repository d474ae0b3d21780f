"""One worker process of several: its command, its output, its last words, its end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from refold.worker.processes.place import SUPERVISOR, numbered

COMMAND = (sys.executable, "-m", "refold.cli.main", "worker")

_ROOT = Path(__file__).resolve().parents[3]
_CHUNK = 1 << 16
_LONGEST_WORDS = 500
# Its output may be held open by what it has started itself.
_REST_SECONDS = 1.0


class Child:
    """A running worker process; `start` makes one.

    What it writes to standard error goes to this process's, line by line.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._words = b""
        self._forwarding = asyncio.create_task(self._forward())

    @classmethod
    async def start(cls, number: int, command: Sequence[str] = COMMAND) -> Self:
        """Starts one.

        Args:
            number: Its number among its like, from 1.
            command: What it is.

        Raises:
            ConfigurationError: There is no port left for its metrics.
        """
        # In a session of its own, so that a Ctrl-C reaches this process alone, which passes it on.
        # The kernel's parent is the thread that forks: it must be one that lasts, as this one does.
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(os.environ, number),
            start_new_session=True,
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def last_words(self) -> str:
        """The last line that it wrote, in which a worker says why it cannot work; may be empty."""
        text = self._words.decode(errors="replace").strip()[:_LONGEST_WORDS]
        # Nothing in it may act upon the terminal.
        return "".join(c if c.isprintable() else "?" for c in text)

    async def ended(self) -> int:
        """Waits for its end, and for its last words; the exit status, negative for a signal."""
        status = await self._process.wait()
        await asyncio.wait([self._forwarding], timeout=_REST_SECONDS)
        self._forwarding.cancel()
        return status

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing once it has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _forward(self) -> None:
        assert self._process.stderr is not None
        begun = b""
        while chunk := await self._process.stderr.read(_CHUNK):
            # Whole lines, as others write to the same place; very long ones in parts.
            whole, newline, begun = (begun + chunk).rpartition(b"\n")
            if len(begun) > _CHUNK:
                whole, newline, begun = whole + newline + begun, b"", b""
            self._pass_on(whole + newline)
        self._pass_on(begun)

    def _pass_on(self, output: bytes) -> None:
        lines = [line for line in output.splitlines() if line.strip()]
        if lines:
            self._words = lines[-1]
        with suppress(OSError):  # who reads it may be gone: that is no reason to end
            sys.stderr.buffer.write(output)
            sys.stderr.buffer.flush()


def _environment(environment: Mapping[str, str], number: int) -> dict[str, str]:
    own = {**environment, **numbered(environment, number), SUPERVISOR: str(os.getpid())}
    # `python worker.py` finds Refold beside the script; `python -m` looks where it is run.
    if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == _ROOT:
        own["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(_ROOT), environment.get("PYTHONPATH")])
        )
    return own


def ending(status: int) -> str:
    """An exit status in words: ``exit code 1``, ``signal SIGKILL``."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
