"""Directories of sessions: what a killed one has left is removed, what another one has is not."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.support import own_directory as module
from tests.support.own_directory import own_directory


def test_what_is_left_goes_with_the_next_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROOMY_BYTES", 0)
    long_ago = time.time() - 3600
    others = tmp_path / "others-data"
    for directory in (tmp_path / "mine-left", others):
        (directory / "postgres").mkdir(parents=True)
        os.utime(directory, (long_ago, long_ago))
    (tmp_path / "mine-new").mkdir()
    with own_directory("mine-", tmp_path) as one:
        assert one.parent == tmp_path
        assert not (tmp_path / "mine-left").exists()
        os.utime(one, (long_ago, long_ago))
        with own_directory("mine-", tmp_path) as two:
            assert one.exists()
            assert two != one
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"others-data", "mine-new"}


def test_without_room_it_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROOMY_BYTES", shutil.disk_usage(tmp_path).total + 1)
    with own_directory("mine-", tmp_path) as one:
        assert one.parent != tmp_path
        assert one.is_dir()
    assert not one.exists()
