"""What has changed among the Python files of some folders.

They are looked at, not watched: there are few, one looks twice a second, and no file system and
no container keeps a change from being seen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from refold.stack.errors import StackError

MOST_FOLDERS = 5_000

_NOT_THEIRS = {"__pycache__", "node_modules", "site-packages"}

_Stamp = tuple[int, int]


class Changes:
    """The Python files in these folders, and in all folders within them.

    Left out are folders whose names begin with a dot, virtual environments, and `without`.

    Raises:
        StackError: There are too many folders to look at twice a second.
    """

    def __init__(self, folders: Sequence[Path], *, without: Sequence[Path] = ()) -> None:
        self._folders = folders
        self._without = {os.path.realpath(path) for path in without}
        self._known = self._stamps()
        self._changed: set[str] = set()

    def settled(self) -> list[str]:
        """The files that were changed, made or taken away, once nothing changes any more.

        An editor, or Git, writes several files one after the other: what has changed is told when
        it is the same the next time one looks, and told once.
        """
        now = self._stamps()
        changed = {path for path in {*now, *self._known} if now.get(path) != self._known.get(path)}
        self._known = now
        self._changed |= changed
        if changed or not self._changed:
            return []
        told, self._changed = sorted(self._changed), set()
        return told

    def _stamps(self) -> dict[str, _Stamp]:
        found: dict[str, _Stamp] = {}
        seen: set[tuple[int, int]] = set()
        for folder in self._folders:
            for file in self._files(str(folder), seen):
                with suppress(OSError):  # just taken away
                    state = Path(file).stat()
                    found[file] = (state.st_mtime_ns, state.st_size)
        return found

    def _files(self, root: str, seen: set[tuple[int, int]]) -> Iterator[str]:
        # A folder of read models may be a link to one that stands elsewhere.
        for folder, inner, names in os.walk(root, followlinks=True):
            place = _place(folder)
            if (
                place is None
                or place in seen
                or "pyvenv.cfg" in names
                or os.path.realpath(folder) in self._without
            ):
                inner.clear()
                continue
            seen.add(place)
            if len(seen) > MOST_FOLDERS:
                raise StackError(
                    f"--reload looks at all Python files of {self._folders[0]}, which has more "
                    f"than {MOST_FOLDERS:,} folders: start it in the folder of the project"
                )
            inner[:] = [n for n in inner if not n.startswith(".") and n not in _NOT_THEIRS]
            yield from (f"{folder}/{name}" for name in names if name.endswith(".py"))


def _place(folder: str) -> tuple[int, int] | None:
    """Which folder it is, under whatever name; None when it is gone."""
    try:
        state = Path(folder).stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
