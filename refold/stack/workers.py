"""The stack's worker processes: a worker that ends is started again."""

import logging
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from refold.stack.process import ChildProcess

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "refold.cli.main", "worker")
RESTART_SECONDS = 1.0

OwnEnvironment = Callable[[Mapping[str, str], int], Mapping[str, str]]
"""Of the environment that all have and a worker's number: what that one has beside it."""

STOP_SECONDS = 30.0


@dataclass
class _Slot:
    """A worker's place. `restart_at` (monotonic seconds) is set while it waits for a new worker."""

    process: ChildProcess
    restart_at: float | None = None


class Workers:
    """`count` processes of `refold worker`, logging to `<data_dir>/worker-<n>.log`, n from 1.

    `own` says what the environment of one of them has beyond what all of them have.
    """

    def __init__(self, data_dir: Path, count: int, own: OwnEnvironment | None = None) -> None:
        self._data_dir = data_dir
        self._count = count
        self._own: OwnEnvironment = own or (lambda shared, number: {})
        self._slots: dict[int, _Slot] = {}
        self._environment: Mapping[str, str] = {}

    @property
    def pids(self) -> list[int]:
        """The pids of the workers that run now."""
        return [slot.process.pid for slot in self._slots.values() if slot.process.running]

    def start(self, environment: Mapping[str, str]) -> None:
        """Starts them with this environment and what is each one's own, without waiting."""
        self._environment = environment
        for number in range(1, self._count + 1):
            self._slots[number] = _Slot(self._launch(number))

    def check(self) -> None:
        """Starts each worker that ended again, one second after its end was seen."""
        now = time.monotonic()
        for number, slot in self._slots.items():
            if slot.process.running:
                continue
            if slot.restart_at is None:
                slot.restart_at = now + RESTART_SECONDS
            elif now >= slot.restart_at:
                ended = slot.process
                slot.process, slot.restart_at = self._launch(number), None
                logger.warning(
                    "Worker %d, pid %d, ended with %s%s; started again as pid %d. Its log is %s",
                    number,
                    ended.pid,
                    ended.exit_status,
                    _last_words(ended),
                    slot.process.pid,
                    ended.log,
                )

    def stop(self) -> None:
        """Lets all workers finish their batches for up to 30 s together; then kills the rest."""
        deadline = time.monotonic() + STOP_SECONDS
        for slot in self._slots.values():
            slot.process.ask_to_stop()
        for slot in self._slots.values():
            slot.process.stop(max(0.0, deadline - time.monotonic()))
        self._slots.clear()

    def _launch(self, number: int) -> ChildProcess:
        return ChildProcess(
            f"worker {number}",
            COMMAND,
            log=self._data_dir / f"worker-{number}.log",
            environment={**self._environment, **self._own(self._environment, number)},
        )


def _last_words(ended: ChildProcess) -> str:
    """The last line that it wrote, in which a worker says why it cannot start."""
    lines = [line for line in ended.log_tail().splitlines() if line.strip()]
    # Nothing in it may act upon the terminal.
    return f" ({''.join(c if c.isprintable() else '?' for c in lines[-1])})" if lines else ""
