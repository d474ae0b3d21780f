"""The stack's worker processes: a worker that ends is started again."""

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from refold.stack.process import ChildProcess
from refold.stack.workers.changes import Changes

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "refold.cli.main", "worker")
RESTART_SECONDS = 1.0
STOP_SECONDS = 30.0

_SHOWN_FILES = 3

# What Python writes of a warning: file, line, kind.
_WARNING = re.compile(r"/?\S+\.py:\d+: \w+: ")

OwnEnvironment = Callable[[Mapping[str, str], int], Mapping[str, str]]
"""Of the environment that all have and a worker's number: what that one has beside it."""

Polls = Callable[[int], bool]
"""Whether the worker of this pid asks Temporal for work."""


@dataclass
class _Slot:
    """A worker's place.

    Attributes:
        process: The worker that has it, or had it last.
        is_ready: Whether that one has polled.
        restart_at: When there is to be a new one, in monotonic seconds; None before it has ended,
            and while it waits for a change.
        stop_by: When it is killed, as it has been asked to make way for a new one.
        is_told: Whether its end has been told.
    """

    process: ChildProcess
    is_ready: bool = False
    restart_at: float | None = None
    stop_by: float | None = None
    is_told: bool = False


class Workers:
    """`count` processes of `refold worker`, logging to `<data_dir>/worker-<n>.log`, n from 1.

    Args:
        data_dir: Where their logs are.
        count: How many.
        own: What the environment of one of them has beyond what all of them have.
        changes: What starts them anew when it changes. A worker that cannot even start waits for
            the next change then, instead of trying again and again.
        polls: By which it is known that a worker is ready; None when nobody wants to know.
    """

    def __init__(
        self,
        data_dir: Path,
        count: int,
        own: OwnEnvironment | None = None,
        *,
        changes: Changes | None = None,
        polls: Polls | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._count = count
        self._own: OwnEnvironment = own or (lambda shared, number: {})
        self._changes = changes
        self._polls = polls
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
        """Sees to each worker; call it about twice a second.

        One that ended is started again, one second after its end was seen. Whose files have
        changed finish their batches, and are started anew.
        """
        if self._changes is not None and (files := self._changes.settled()):
            self._make_way(files)
        now = time.monotonic()
        for number, slot in self._slots.items():
            if slot.process.running:
                self._look_at(number, slot, now)
            elif slot.stop_by is not None:
                self._slots[number] = _Slot(self._launch(number))
            elif slot.restart_at is None:
                self._see_end(number, slot, now)
            elif now >= slot.restart_at:
                self._start_again(number, slot)

    def stop(self) -> None:
        """Lets all workers finish their batches for up to 30 s together; then kills the rest."""
        deadline = time.monotonic() + STOP_SECONDS
        for slot in self._slots.values():
            slot.process.ask_to_stop()
        for slot in self._slots.values():
            slot.process.stop(max(0.0, deadline - time.monotonic()))
        self._slots.clear()

    def _make_way(self, files: Sequence[str]) -> None:
        named = ", ".join(_shown(file) for file in files[:_SHOWN_FILES])
        more = f" and {len(files) - _SHOWN_FILES:,} more" if len(files) > _SHOWN_FILES else ""
        logger.info("%s%s changed: workers are started anew", named, more)
        for slot in self._slots.values():
            slot.stop_by = time.monotonic() + STOP_SECONDS
            slot.process.ask_to_stop()

    def _look_at(self, number: int, slot: _Slot, now: float) -> None:
        if slot.stop_by is not None:
            if now > slot.stop_by:
                slot.process.stop(0)
        elif not slot.is_ready and self._polls is not None and self._polls(slot.process.pid):
            slot.is_ready = True
            for line in filter(_WARNING.match, slot.process.log_tail().splitlines()):
                logger.warning("worker %d: %s", number, _plain(line))
            logger.info("worker %d is ready: pid %d works", number, slot.process.pid)

    def _see_end(self, number: int, slot: _Slot, now: float) -> None:
        if self._changes is None or slot.is_ready or slot.process.exit_code <= 0:
            slot.restart_at = now + RESTART_SECONDS
        elif not slot.is_told:
            slot.is_told = True
            logger.error(
                "worker %d cannot start: %s. It tries again when a file changes", number, _end(slot)
            )

    def _start_again(self, number: int, slot: _Slot) -> None:
        self._slots[number] = _Slot(self._launch(number))
        logger.warning(
            "worker %d ended: %s. It was started again as pid %d; its log is %s",
            number,
            _end(slot),
            self._slots[number].process.pid,
            slot.process.log,
        )

    def _launch(self, number: int) -> ChildProcess:
        return ChildProcess(
            f"worker {number}",
            COMMAND,
            log=self._data_dir / f"worker-{number}.log",
            environment={**self._environment, **self._own(self._environment, number)},
        )


def _end(slot: _Slot) -> str:
    """How a worker ended, in its own last words; only where it had none, by its exit status."""
    ended = slot.process
    lines = [line for line in ended.log_tail().splitlines() if line.strip()]
    if not lines:
        return f"{ended.exit_status}, without a word"
    words = _plain(lines[-1].removeprefix("refold: ").rstrip("."))
    return f"{ended.exit_status} after {words!r}" if ended.exit_code <= 0 else words


def _shown(file: str) -> str:
    try:
        return _plain(str(Path(file).relative_to(Path.cwd())))
    except ValueError:
        return _plain(file)


def _plain(text: str) -> str:
    # Nothing in it may act upon the terminal.
    return "".join(c if c.isprintable() else "?" for c in text)
