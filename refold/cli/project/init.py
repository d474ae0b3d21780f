"""init: a project that runs at once."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from refold.cli.output import console, finished
from refold.cli.project.files import rendered, write
from refold.errors import InvalidRequest


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="DIRECTORY", help="Where the project is to be.")
    ] = Path(),
) -> None:
    """Make a project that runs at once.

    One projection, its test, some events, a compose file, CI and a README.
    Files that are there already are never overwritten.
    """

    async def make() -> list[str]:
        if directory.exists() and not directory.is_dir():
            raise InvalidRequest(f"{directory}: expected a directory, or none yet, got a file")
        values = {"name": _name(directory), "version": version("refold")}
        return write(directory, rendered("init", values))

    for name in finished(make()):
        console.print(f"  {directory / name}", soft_wrap=True)
    console.print("\nnext:")
    if directory.resolve() != Path.cwd():
        console.print(f"  cd {directory}", soft_wrap=True)
    console.print("  python -m pytest      # the projection's test, without servers")
    console.print("  refold dev            # PostgreSQL, Temporal and a worker; README.md goes on")


def _name(directory: Path) -> str:
    """The project's name, of the directory's."""
    made = re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-")
    # Its dependency is called refold.
    return "read-models" if made in ("", "refold") else made
