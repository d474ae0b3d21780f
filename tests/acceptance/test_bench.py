"""All benches in one go, of few events: each comes to its end, and no row differs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.all.report import Report

ROOT = Path(__file__).parents[2]


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_all_benches_say_what_they_measure(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.all", "--events", "5000", "--runs", "1"]
    ended = subprocess.run(
        [*command, "--results", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = Report.read(tmp_path / "main.json")
    assert report is not None
    assert report.is_right
    assert len(report.parts) == 8
    page = [sys.executable, "-m", "bench.page", "--anyway", "--results", str(tmp_path)]
    subprocess.run([*page, "--into", str(tmp_path)], cwd=ROOT, check=True)
    assert "one worker process | " in (tmp_path / "performance.md").read_text()
    assert (tmp_path / "pictures/performance.svg").read_text().startswith("<svg")
