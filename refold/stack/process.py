"""A supervised child process: its own session, its output in a log file, a bounded stop.

Its own session keeps a Ctrl-C in the terminal from reaching it: the parent gets the signal
alone, and stops its children in order.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refold.stack.errors import ServerEnded, ServerNotReady
from refold.stack.files import open_own
from refold.stack.fork import die_with_parent, fork

TAIL_LINES = 20
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Account:
    """The system account a child runs as, when not that of this process."""

    uid: int
    gid: int


class ChildProcess:
    """One running child. The constructor starts it.

    `stop_signal` asks it to end in order. The kernel sends it `death_signal` when this process
    dies. Raises OSError when the program cannot be executed.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str],
        account: Account | None = None,
        cwd: Path | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        appending = open_own(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        with os.fdopen(appending, "ab") as output:
            self._log_start = output.tell()
            self._process = fork(
                lambda: subprocess.Popen(
                    list(arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    cwd=cwd,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                    start_new_session=True,
                    preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509 - takes no lock
                )
            )

    @property
    def pid(self) -> int:
        """The process id; it stays after the end."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int:
        """How it ended: negative for a signal; 0 while it has not, too."""
        return self._process.poll() or 0

    @property
    def exit_status(self) -> str:
        """In words: `exit code 1`, `signal SIGKILL`, or `no exit status yet`."""
        code = self._process.poll()
        if code is None:
            return "no exit status yet"
        if code >= 0:
            return f"exit code {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def log_tail(self) -> str:
        """The last lines that this process, not an earlier one, wrote to its log."""
        with os.fdopen(open_own(self.log, os.O_RDONLY), "rb") as file:
            file.seek(max(self._log_start, os.fstat(file.fileno()).st_size - 16_384))
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])

    def ended(self) -> ServerEnded:
        """The error that tells of its unexpected end."""
        return ServerEnded(self.name, self.exit_status, self.log, self.log_tail())

    def wait_until(self, ready: Callable[[], bool], timeout: float) -> None:
        """Polls `ready`; raises ServerEnded or, after `timeout` seconds, ServerNotReady."""
        deadline = time.monotonic() + timeout
        while not ready() or not self.running:
            if not self.running:  # then it was another server that answered
                raise self.ended()
            if time.monotonic() > deadline:
                raise ServerNotReady(self.name, timeout, self.log, self.log_tail())
            time.sleep(POLL_SECONDS)

    def wait(self, timeout: float) -> int:
        """The exit code (negative: the signal); raises ServerNotReady after `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerNotReady(self.name, timeout, self.log, self.log_tail()) from None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing once it has ended."""
        self._process.send_signal(number)

    def ask_to_stop(self) -> None:
        """Sends the stop signal and returns at once."""
        self.send(self._stop_signal)

    def stop(self, timeout: float) -> None:
        """Asks it to stop, and kills its process group when it has not after `timeout` seconds."""
        self.ask_to_stop()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
