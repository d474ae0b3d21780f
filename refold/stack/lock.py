"""The lock on a data directory: one stack at a time, released by the kernel if its holder dies."""

import fcntl
import os
from pathlib import Path

from refold.stack.errors import StackAlreadyRunning
from refold.stack.files import open_own


class DataDirLock:
    """An exclusive lock on `<data_dir>/lock`, a file that contains the holder's pid."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._file is not None

    def acquire(self) -> None:
        """Takes the lock; raises StackAlreadyRunning, with the holder's pid, when it is held."""
        file = open_own(self._data_dir / "lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(file, 32)
            os.close(file)
            raise StackAlreadyRunning(self._data_dir, _pid(text)) from None
        os.ftruncate(file, 0)
        os.write(file, f"{os.getpid()}\n".encode())
        self._file = file

    def release(self) -> None:
        """Gives the lock up; does nothing when it is not held."""
        # The file stays: removing it would let two processes lock two files of the same name.
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None


def _pid(text: bytes) -> int | None:
    return int(text) if text.strip().isdigit() else None
