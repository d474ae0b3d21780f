"""Events for the read model ``counters``."""

from __future__ import annotations

from typing import Any


def some(
    keys: int = 40, each: int = 5, *, start_at: int = 0
) -> list[tuple[str, str, dict[str, Any]]]:
    """Events of several keys, interleaved."""
    return [
        (f"s{k}", "Added", {"key": f"k{k:03}", "n": start_at + n * keys + k})
        for n in range(each)
        for k in range(keys)
    ]
