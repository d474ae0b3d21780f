"""An installed Refold: its wheel in an environment of its own, with no source tree in sight."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import hatchling

from tests.support.processes import clean_environment

_DEPENDENCIES = Path(hatchling.__file__).parents[1]


def build(source: Path, directory: Path, *targets: str) -> None:
    """Builds with what is installed here, without a network: a `wheel`, an `sdist`."""
    kinds = [part for target in targets for part in ("-t", target)]
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(directory), *kinds],
        cwd=source,
        env=clean_environment(),
        check=True,
        capture_output=True,
    )


def contents(wheel: Path) -> set[str]:
    """The names of a wheel's files."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def install(wheel: Path, directory: Path) -> Path:
    """Installs a wheel alone into a new virtual environment; returns the environment's programs.

    What Refold needs is read from here. Paths in `.pth` files are not followed from there: this
    environment's own Refold, the source tree, is not found.
    """
    venv.create(directory, with_pip=False)
    programs = directory / "bin"
    pip = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "--isolated"]
    alone = ["--no-index", "--no-deps", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", *alone, str(wheel)], check=True, capture_output=True)
    packages(directory).joinpath("dependencies.pth").write_text(f"{_DEPENDENCIES}\n")
    return programs


def packages(directory: Path) -> Path:
    """Where a virtual environment has its packages."""
    return Path(sysconfig.get_path("purelib", vars={"base": str(directory)}))


def environment(programs: Path, **variables: str) -> dict[str, str]:
    """Variables for the programs of an environment, in which the source tree is not on the path."""
    made = clean_environment(**variables)
    del made["PYTHONPATH"]
    made["PATH"] = f"{programs}:{made['PATH']}"
    return made
