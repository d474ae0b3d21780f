"""Files of a data directory are opened without following links that somebody has put there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from refold.stack.errors import StackError
from refold.stack.lock import DataDirLock
from refold.stack.postgres import EmbeddedPostgres
from refold.stack.process import ChildProcess
from refold.stack.stack import Stack
from refold.stack.temporal import EmbeddedTemporal


class _Stack(Stack):
    """One that was not started."""

    @property
    def environment(self) -> dict[str, str]:
        return {"REFOLD_DATABASE_URL": "postgresql://"}


def _stack(directory: Path) -> None:
    Stack(directory).start()


def _process(directory: Path) -> None:
    log = directory / "worker.log"
    ChildProcess("true", ["true"], log=log, environment={}).wait(10)


USES: dict[str, Callable[[Path], object]] = {
    "lock": lambda directory: DataDirLock(directory).acquire(),
    ".gitignore": _stack,
    "postgres.log": lambda directory: EmbeddedPostgres(directory, 1).launch(),
    "temporal.log": lambda directory: EmbeddedTemporal(directory, 1, 2).launch(),
    "temporal.db": lambda directory: EmbeddedTemporal(directory, 1, 2).launch(),
    "worker.log": _process,
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe"])
def test_what_is_no_plain_file_is_refused(tmp_path: Path, name: str, kind: str) -> None:
    directory, other = tmp_path / "data", tmp_path / "precious"
    directory.mkdir()
    if kind == "link":
        other.write_text("precious")
    if kind == "pipe":
        os.mkfifo(directory / name)
    else:
        (directory / name).symlink_to(other)
    with pytest.raises(StackError, match="expected a plain file"):
        USES[name](directory)
    assert other.exists() is (kind == "link")
    assert kind != "link" or other.read_text() == "precious"


def test_the_file_of_settings_replaces_a_link_and_is_its_owners(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    directory = tmp_path / "data"
    directory.mkdir()
    for name in ("env", "env.new"):
        (directory / name).symlink_to(precious)
    _Stack(directory)._write_env_file()
    assert precious.read_text() == "precious"
    written = directory / "env"
    assert not written.is_symlink()
    assert written.read_text() == "REFOLD_DATABASE_URL=postgresql://\n"
    assert written.stat().st_mode & 0o777 == 0o600
