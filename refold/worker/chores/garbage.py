"""Garbage: a process that works for days collects its cycles, and gives free memory back."""

from __future__ import annotations

import gc

from refold.runtime import allocator
from refold.worker.chores.chore import Looked

_SECONDS = 60.0


class Garbage:
    """Collects all garbage, old objects included, and gives free memory back to the system.

    Statements, tasks and workflows that are done leave cycles of some hundred objects each. With
    the thresholds of `refold.runtime.garbage`, and by the collector's own rule that old objects are
    looked at when their number has grown by a quarter, what has once become old would be kept for
    hours. Each look stops the process for some hundredths of a second.
    """

    name = "garbage"
    seconds = _SECONDS

    async def run_once(self) -> Looked:
        """Collects once; see `Chore`."""
        gc.collect()
        allocator.give_back()
        return Looked(projections=[])
