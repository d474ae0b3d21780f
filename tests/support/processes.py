"""Worker processes that tests kill, stop and continue; none outlives its test."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from temporalio.client import Client

from refold.stack.process import ChildProcess
from tests.support.databases import Database
from tests.support.forked import ForkedProcess, worker
from tests.support.runs import queue

ROOT = Path(__file__).parents[2]


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without what leads Refold or Temporal somewhere, and these."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("REFOLD_", "TEMPORAL_", "OTEL_"))
    }
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {
        **inherited,
        "PATH": beside,
        "PYTHONPATH": str(ROOT),
        "TEMPORAL_CONFIG_FILE": os.devnull,
        **variables,
    }


def worker_environment(client: Client, database: Database, **variables: str) -> dict[str, str]:
    """What leads a worker to a test's servers and task queue."""
    return clean_environment(
        **{
            "REFOLD_DATABASE_URL": database.url,
            "TEMPORAL_ADDRESS": client.service_client.config.target_host,
            "REFOLD_TASK_QUEUE": queue(database),
            "REFOLD_HEARTBEAT_TIMEOUT_SECONDS": "3",
            "REFOLD_SEGMENT_SECONDS": "2",
            "REFOLD_EVENTS_URL": database.events_url or "",
            **variables,
        }
    )


class WorkerProcess:
    """One `python worker.py`; its output goes to a log of its own.

    Args:
        environment: All of its variables.
        log: The file for its output.
        fresh: Whether it is to import everything itself: for those whose memory is measured.
    """

    def __init__(self, environment: dict[str, str], log: Path, *, fresh: bool = False) -> None:
        self.log = log
        self._child: ChildProcess | ForkedProcess
        if fresh:
            self._child = ChildProcess(
                "worker",
                [sys.executable, str(ROOT / "worker.py")],
                log=log,
                environment=environment,
                cwd=ROOT,
            )
        else:
            log.touch()
            self._child = ForkedProcess(
                worker, directory=ROOT, environment=environment, output=(log, log)
            )

    @property
    def output(self) -> str:
        """What it has written so far."""
        return self.log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._child.running

    @property
    def frozen(self) -> bool:
        """Whether it stands still, stopped by itself or by us."""
        return (
            Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        )

    def kill(self) -> None:
        """SIGKILL: it finds no time for anything."""
        self._child.send(signal.SIGKILL)
        self._child.wait(10)

    def stop(self) -> None:
        """SIGSTOP: it stands still, its connections stay open."""
        self._child.send(signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: it goes on as if nothing had happened."""
        self._child.send(signal.SIGCONT)

    async def terminate(self, seconds: float = 30) -> int:
        """SIGTERM; returns the exit status."""
        self._child.send(signal.SIGTERM)
        return await self.ended(seconds)

    async def ended(self, seconds: float = 30) -> int:
        """Waits for its end; returns the exit status."""
        return await asyncio.to_thread(self._child.wait, seconds)


class WorkerProcesses:
    """Starts worker processes with one environment, each with its own log."""

    def __init__(
        self, environment: dict[str, str], directory: Path, *, fresh: bool = False
    ) -> None:
        self.environment = environment
        self._fresh = fresh
        self._directory = directory
        self.started: list[WorkerProcess] = []

    def start(self) -> WorkerProcess:
        """Starts one more, without waiting for it to be ready."""
        log = self._directory / f"worker-{len(self.started) + 1}.log"
        process = WorkerProcess(self.environment, log, fresh=self._fresh)
        self.started.append(process)
        return process

    @property
    def output(self) -> str:
        """What all of them have written."""
        return "\n".join(process.output for process in self.started)


@contextmanager
def worker_processes(
    environment: dict[str, str], directory: Path, *, fresh: bool = False
) -> Iterator[WorkerProcesses]:
    """Worker processes that are killed when the context ends, however it ends."""
    processes = WorkerProcesses(environment, directory, fresh=fresh)
    try:
        yield processes
    finally:
        for process in processes.started:
            if process.running:
                process.kill()
