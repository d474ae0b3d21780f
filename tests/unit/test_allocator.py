"""Memory that is free goes back to the system, though something beside it is still in use."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Blocks as large events leave them, each beside something small that stays.
_PROGRAM = """
import sys
from refold.runtime.allocator import give_back, keep_little
from tests.support.memory import resident
import os

def large_and_small():
    for _ in range(2):  # glibc learns from the first ones that blocks of this size come and go
        large = []
        for _ in range(50):
            large.append(bytes(b"x") * (2 << 20))
            kept.append(bytes(b"y") * 20_000)
        del large[:]

kept = []
before = resident(os.getpid())
if sys.argv[1] == "keep_little":
    keep_little()
large_and_small()
if sys.argv[1] == "give_back":
    give_back()
print((resident(os.getpid()) - before) >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="others return it themselves")
@pytest.mark.parametrize("how", ["keep_little", "give_back"])
def test_what_is_free_goes_back(how: str) -> None:
    assert _kept(how) < 10


def _kept(how: str) -> int:
    """What a process that has had 100 MB keeps of it, in MB."""
    command = [sys.executable, "-c", _PROGRAM, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
