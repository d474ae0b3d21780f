"""Packages from npm that tests run on, installed on first use beside the environment."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_SECONDS = 240


def packages(name: str, *wanted: str, mend: Callable[[Path], None] | None = None) -> Path:
    """The directory `node_modules` that holds packages; skips without Node.js.

    Args:
        name: For the directory that they share.
        wanted: Each with its exact version, such as ``@eventide/message-db@1.3.1``.
        mend: Is given that directory each time, while no other process is at it.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("there is no Node.js here: `apt-get install nodejs npm` brings it")
    place = Path(sys.prefix) / "share" / name
    place.mkdir(parents=True, exist_ok=True)
    there = place / "installed"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not there.exists() or there.read_text() != " ".join(wanted):
            options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock"]
            made = subprocess.run(
                ["npm", "install", *options, "--prefix", str(place), *wanted],
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
            if made.returncode:
                pytest.skip(f"{wanted[0]} cannot be installed: {made.stderr[-300:]}")
            there.write_text(" ".join(wanted))
        modules = place / "node_modules"
        if mend is not None:
            mend(modules)
    return modules
