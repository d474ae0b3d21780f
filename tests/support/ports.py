"""Ports for test servers: two test sessions at the same time must not choose the same one."""

from __future__ import annotations

import random

from refold.stack.ports import FREE_RANGE, is_free


def free_port(together: int = 1) -> int:
    """A port that is free, with the next ones when several are needed together."""
    chance = random.SystemRandom()
    while True:
        first = chance.choice(FREE_RANGE)
        if all(is_free(first + offset) for offset in range(together)):
            return first
