"""Finds and stops servers that an earlier, crashed run left on a data directory.

They are recognised by what they run on, never by a pid file: after a reboot, or in a container, a
remembered pid may belong to any other process. Call these only with the directory's lock held.
"""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from refold.stack.errors import StackError
from refold.stack.files import open_own

logger = logging.getLogger(__name__)

STOP_SECONDS = 10.0


def stop_postgres(pgdata: Path) -> None:
    """Stops each PostgreSQL process, postmaster or orphaned backend, that works in `pgdata`."""
    # All of them work in that directory; only the postmaster has it in its command line.
    # SIGQUIT, as SIGTERM would let the postmaster wait for its clients.
    _stop(
        lambda process: process.name() == "postgres" and process.cwd() == str(pgdata),
        signal.SIGQUIT,
    )


def forget_postmaster(pgdata: Path) -> None:
    """Removes a pid file whose pid now belongs to some other program.

    PostgreSQL would take that program for its predecessor and refuse to start. PostgreSQL itself
    checks every other case.
    """
    pid_file = pgdata / "postmaster.pid"
    try:
        with os.fdopen(open_own(pid_file, os.O_RDONLY)) as file:
            holder = psutil.Process(int(file.read(32).split(maxsplit=1)[0]))
        if holder.name() != "postgres":
            pid_file.unlink()
    except (OSError, StackError, ValueError, IndexError, psutil.Error):
        return


def stop_temporal(db_file: Path) -> None:
    """Stops each Temporal server whose command line names `db_file`."""
    _stop(
        lambda process: process.name().startswith("temporal") and str(db_file) in process.cmdline(),
        signal.SIGTERM,
    )


def _stop(is_leftover: Callable[[psutil.Process], bool], how: signal.Signals) -> None:
    found = []
    for process in psutil.process_iter():
        try:
            if is_leftover(process):
                logger.warning(
                    "Stopping %s, pid %d, of an earlier run", process.name(), process.pid
                )
                process.send_signal(how)
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    _, alive = psutil.wait_procs(found, timeout=STOP_SECONDS)
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=STOP_SECONDS)
