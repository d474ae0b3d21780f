"""Files of a data directory: Refold's own, plain ones. A link there may lead to anybody's."""

import errno
import os
import stat
from pathlib import Path

from refold.stack.errors import StackError


def open_own(path: Path, flags: int, mode: int = 0o644) -> int:
    """Opens a file of Refold's own; the descriptor.

    Raises:
        StackError: There is a link, a pipe or anything else that is no plain file.
        OSError: It cannot be opened.
    """
    try:
        # Not blocking: a pipe would wait for its other end. It means nothing to plain files.
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
    """Raises StackError when something is there that is no plain file, for others to open."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise _not_plain(path)


def _not_plain(path: Path) -> StackError:
    return StackError(
        f"{path}: expected a plain file of Refold's own, or none; it is a link or something else. "
        "Remove it, or give another --data-dir."
    )
