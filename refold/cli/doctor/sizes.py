"""Sizes as people read them."""

from __future__ import annotations


def size_of(count: int) -> str:
    """A number of bytes, in the largest unit of which there is at least one."""
    for unit, size in (("GB", 2**30), ("MB", 2**20), ("kB", 2**10)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"
