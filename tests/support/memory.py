"""The memory of a process, as Linux counts it."""

from __future__ import annotations

import re
from pathlib import Path

MB = 1 << 20
"""A mebibyte, in bytes."""


def resident(pid: int) -> int:
    """What a process has in memory now, in bytes."""
    return _status(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most that it has had in memory since it was started, or since `reset_peak`, in bytes."""
    return _status(pid, "VmHWM")


def reset_peak(pid: int) -> None:
    """Lets `peak` begin anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, field: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(rf"^{field}:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10
