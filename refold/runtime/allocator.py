"""The C library's allocator: memory that is free goes back to the system.

glibc keeps what is freed in the midst of its heap. asyncio asks for 256 kB for each answer that it
reads and gives all but its length back, which leaves so many holes that the heap grows by some MB a
minute, without anything being kept: `give_back` now and then returns these. Other C libraries have
none of these functions: then nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# `mallopt` parameters, of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# A block of this size or more has a mapping of its own, which goes when the block is freed: large
# events have such blocks. By default glibc raises the limit to the largest block ever freed, up to
# 32 MB. Of less than this are the blocks that come and go all the time, asyncio's and the JSON
# decoder's; with a limit of 256 kB, page faults took a tenth of a rebuild's time.
_MAPPED_FROM = 1 << 20
# So much may be free at the heap's end. Without this limit, setting the other one lowers it to
# 128 kB, and the heap's end would go up and down with each answer.
_FREE_AT_END = 8 << 20


def _libc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def keep_little() -> None:
    """Lets large blocks go back to the system as soon as they are freed."""
    if (libc := _libc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, _FREE_AT_END)


def give_back() -> None:
    """Gives the pages back that are free now, wherever they are; takes some milliseconds."""
    if (libc := _libc()) is not None:
        libc.malloc_trim(0)
