"""Where a session of tests keeps its servers' data: in memory if there is room, not for ever."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MEMORY = Path("/dev/shm")
_ROOMY_BYTES = 8 * 2**30
# A directory is locked at once when it is made, but not in the same moment.
_YOUNG_SECONDS = 60.0


@contextmanager
def own_directory(prefix: str, memory: Path = _MEMORY) -> Iterator[Path]:
    """A directory that goes with the context, at the latest with the next session.

    A session that is killed leaves its directory behind: what is in memory would take it until the
    machine is started again. The lock on a directory ends with its session, however that ends.

    Args:
        prefix: Its name's; what others have left is known by it.
        memory: Whose files are in memory. Nearly every test has its own database: to copy one takes
            a fifth of the time there.
    """
    for left in memory.glob(f"{prefix}*"):
        _remove_if_left(left)
    roomy = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ROOMY_BYTES
    with tempfile.TemporaryDirectory(prefix=prefix, dir=memory if roomy else None) as made:
        held = os.open(made, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(made)
        finally:
            os.close(held)


def _remove_if_left(directory: Path) -> None:
    with suppress(OSError):  # another session removes it, or somebody else's it is
        if time.time() - directory.stat().st_mtime < _YOUNG_SECONDS:
            return
        held = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory, ignore_errors=True)
        finally:
            os.close(held)
