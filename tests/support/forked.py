"""Commands and workers in processes that are forked from one that has Refold imported already.

To import it takes one to two seconds of a processor, more than a hundred times in a run of the
tests. Each is a process of its own nevertheless: with its own environment, output and exit status,
and it can be killed, stopped and continued.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from refold.stack.fork import PR_SET_PDEATHSIG

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    ["refold.cli.main", "tests.support.all_commands", "refold.worker.process"]
)


class ForkedProcess:
    """One process. The constructor starts it.

    Args:
        work: What it does: `refold`, or `worker`.
        arguments: What follows the name of the command.
        directory: Where it runs.
        environment: All of its variables.
        output: The files that get its standard output and its standard error.
    """

    def __init__(
        self,
        work: Callable[[], None],
        arguments: tuple[str, ...] = (),
        *,
        directory: Path,
        environment: dict[str, str],
        output: tuple[Path, Path],
    ) -> None:
        self._process = _FORKS.Process(
            target=_run, args=(work, arguments, directory, environment, output)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The process id; it stays after the end."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.exitcode is None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing once it has ended."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        """The exit code (negative: the signal).

        Raises:
            TimeoutError: It goes on after `timeout` seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"process {self.pid}: not at its end after {timeout} s")
        return self._process.exitcode


def refold() -> None:
    """The command `refold`."""
    from refold.cli.main import main

    main()


def worker() -> None:
    """The worker, as `python worker.py` is one."""
    runpy.run_path("worker.py", run_name="__main__")


def _run(
    work: Callable[[], None],
    arguments: tuple[str, ...],
    directory: Path,
    environment: dict[str, str],
    output: tuple[Path, Path],
) -> None:
    if sys.platform == "linux":  # nothing outlives the tests
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    # It is ignored in what a shell begins in the background, as these tests may be.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [work.__name__, *arguments]
    work()
