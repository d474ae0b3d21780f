"""A read model whose handler never returns, for REFOLD_PROJECTIONS of worker processes."""

from __future__ import annotations

import threading

from refold import Event, Projection, Row
from tests.support.counters import counters


def _stuck() -> Projection:
    right = counters(partitions=1)
    made = Projection("counters", table=right.table, key="data.key", backfill=right.backfill)

    @made.on("Added")
    def added(row: Row | None, event: Event) -> Row | None:
        # It waits in C, where nothing that is raised in the thread is noticed.
        threading.Event().wait()
        return row

    return made


stuck = _stuck()
