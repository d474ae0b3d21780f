"""Which one of several worker processes this is, where there are several on a machine."""

from __future__ import annotations

import os

WORKER_NUMBER = "REFOLD_WORKER_NUMBER"
"""The variable in which the process that starts them says so."""


def worker_number() -> int | None:
    """Its number, from 1; None where it is the only one."""
    said = os.environ.get(WORKER_NUMBER, "")
    return int(said) if said.isdecimal() else None
