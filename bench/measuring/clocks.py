"""Time that passes, and processor time of the processes that do the work."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from refold.stack.stack import Stack


@dataclass(frozen=True)
class Spent:
    """Seconds: passed, of the workers' processors, of PostgreSQL's, of Temporal's."""

    passed: float
    workers: float
    postgres: float
    temporal: float


class Clock:
    """Measures from when it is made.

    Args:
        stack: Whose PostgreSQL and Temporal are meant.
        workers: The processes that do the work; None for the stack's workers.
    """

    def __init__(self, stack: Stack, workers: Sequence[int] | None = None) -> None:
        assert stack.postgres.process is not None
        assert stack.temporal.process is not None
        self._roots = (
            list(stack.worker_pids if workers is None else workers),
            [stack.postgres.process.pid],
            [stack.temporal.process.pid],
        )
        self._began = self._now()

    def _now(self) -> tuple[float, ...]:
        of = [sum(map(processor_seconds, pids)) for pids in self._roots]
        return (time.perf_counter(), *of)

    def spent(self) -> Spent:
        """What has been spent since then."""
        return Spent(*(b - a for a, b in zip(self._began, self._now(), strict=True)))


def processor_seconds(pid: int) -> float:
    """Of a process, of those that it has started, and of those of them that have ended."""
    total = 0.0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return total
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def peak_mebibytes(pid: int) -> float:
    """The highest resident memory that a process ever had."""
    return _status(pid, "VmHWM")


def mebibytes(pid: int) -> float:
    """The resident memory that a process has now."""
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
