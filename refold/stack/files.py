"""Opens files of a data directory, plain ones only: a link may lead to somebody else's file."""

import errno
import os
import stat
from pathlib import Path

from refold.stack.errors import StackError


def open_own(path: Path, flags: int, mode: int = 0o644) -> int:
    """Opens one of Refold's own files and returns its descriptor.

    Raises:
        StackError: The path is a link, a pipe or anything else that is not a plain file.
        OSError: It cannot be opened.
    """
    try:
        # Not blocking: opening a pipe would wait for its other end. Plain files ignore the flag.
        file = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_plain(path) from None
        raise
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise _not_plain(path)
    return file


def write_own(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file anew. Raises as `open_own` does."""
    file = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(file, "w") as output:
        output.write(text)


def require_plain(path: Path) -> None:
    """Raises StackError unless a server may open `path`: it is a plain file, or not there."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise _not_plain(path)


def _not_plain(path: Path) -> StackError:
    return StackError(
        f"{path}: expected a plain file of Refold's own, or none; it is a link or something else. "
        "Remove it, or give another --data-dir."
    )
