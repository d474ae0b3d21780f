"""Files of a project: made of templates, and written only where there are none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from refold.errors import InvalidRequest

_TOKEN = re.compile(r"@@(\w+)@@")
# A template is no module of Refold's: its name ends so, and its files are called otherwise there.
_SUFFIX = ".template"
_DOT = "dot-"
_NAMED = 5


def rendered(folder: str, values: Mapping[str, str]) -> dict[str, str]:
    """The files of a folder of templates, by their path in the project.

    Args:
        folder: A folder of ``templates``.
        values: What stands for each ``@@token@@``, in names and in texts.

    Raises:
        KeyError: A template has a token without a value.
    """
    made = {}
    for path, text in _templates(files("refold.cli.project") / "templates" / folder):
        name = _filled(path.removesuffix(_SUFFIX), values)
        parts = [
            f".{part.removeprefix(_DOT)}" if part.startswith(_DOT) else part
            for part in name.split("/")
        ]
        made["/".join(parts)] = _filled(text, values)
    return made


def _templates(folder: Traversable, before: str = "") -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = f"{before}{entry.name}"
        if entry.is_dir():
            yield from _templates(entry, f"{path}/")
        elif path.endswith(_SUFFIX):
            yield path, entry.read_text(encoding="utf-8")


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _TOKEN.sub(lambda found: values[found[1]], text)


def write(directory: Path, contents: Mapping[str, str]) -> list[str]:
    """Writes files into a directory, all of them or, when one is there already, none.

    Returns:
        Their paths in the directory.

    Raises:
        InvalidRequest: A file is there, or it cannot be written.
    """
    there = [name for name in contents if _is_there(directory / name)]
    if there:
        more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
        raise InvalidRequest(
            f"{directory}: expected none of the files that are to be written, got "
            f"{', '.join(there[:_NAMED])}{more}: nothing was written; take another place, or move "
            "them away"
        )
    done: list[str] = []
    try:
        for name, text in contents.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not over what somebody has made since the look.
            with path.open("x", encoding="utf-8") as file:
                done.append(name)
                file.write(text)
    except OSError as error:
        for name in done:
            (directory / name).unlink(missing_ok=True)
        place = error.filename or directory
        raise InvalidRequest(
            f"{place}: expected to write a file there, got: {error.strerror}; what was written "
            "was taken away"
        ) from error
    return done


def _is_there(path: Path) -> bool:
    # A link that leads nowhere is somebody's, too.
    try:
        return path.is_symlink() or path.exists()
    except OSError:  # below something that is no folder: the writing says so
        return False
