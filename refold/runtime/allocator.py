"""The C library's allocator: memory that is free goes back to the system.

glibc keeps what is freed in the midst of its heap. Large blocks that come and go there leave so
many holes that the heap grows by some MB a minute, without anything being kept. Other C libraries
have none of these functions: then nothing is done.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# `mallopt` parameters, of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# A block of this size or more has a mapping of its own, which goes when the block is freed: large
# events have such blocks. By default glibc raises the limit to the largest block ever freed, up to
# 32 MB. What comes and goes all the time must be smaller, as page faults would take a tenth of a
# rebuild's time: that is why `refold.runtime.driver` reads, and `refold.source.reader` decodes, in
# small pieces.
_MAPPED_FROM = 256 << 10
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
