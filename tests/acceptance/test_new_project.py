"""docs/start.md on real servers: a project is made, and a test of its own builds its read model."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from tests.support.commands import forked
from tests.support.processes import ROOT, clean_environment

PAGE = (ROOT / "docs/start.md").read_text()


async def test_the_fixture_of_a_new_project_builds_its_read_model(tmp_path: Path) -> None:
    """The page's own test, by the page's own `conftest.py`."""
    conftest, test = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    project = tmp_path / "shop"
    begun = await asyncio.to_thread(forked, "init", "shop", variables={}, directory=tmp_path)
    assert begun.status == 0, begun.err
    (project / "conftest.py").write_text(conftest)
    (project / "tests/test_built.py").write_text(test)
    # The project's own plugins only: those of Refold's tests have settings that it has not.
    passed = await _run(project, "pytest", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    assert "3 passed" in passed.stdout


async def _run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", *command],
        cwd=directory,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
