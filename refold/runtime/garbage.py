"""The cyclic garbage collector of a process that folds."""

from __future__ import annotations

import asyncio
import gc

from refold.runtime import allocator

COLLECT_SECONDS = 60.0
"""How long garbage is kept at most in a process that collects now and then."""


def calm_garbage_collector() -> None:
    """Lets the cyclic collector look seldom, and never at what there is by now.

    A fold makes millions of short-lived objects and no cycles. With the default threshold the
    collector walks them over and over, for a third of a rebuild's time.

    A process that lives long calls `collect_now_and_then`, too. With these thresholds an object
    that has become old is kept for hours: the collector looks at old objects only when their
    number has grown by a quarter.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 100)


async def collect_now_and_then(seconds: float = COLLECT_SECONDS) -> None:
    """Collects all garbage, old objects included, and gives free memory back; until cancelled.

    Statements, tasks and workflows that are done leave cycles of some hundred objects each. Each
    pass stops the process for some hundredths of a second.

    Args:
        seconds: From one pass to the next.
    """
    while True:
        await asyncio.sleep(seconds)
        gc.collect()
        allocator.give_back()
