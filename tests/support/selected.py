"""A read model said in SQL for worker processes: which one, and its batches, say variables."""

from __future__ import annotations

import os

from refold import SqlProjection
from tests.support.selects import removable, summed

KINDS = ("summed", "merged", "removable")


def made(kind: str, batch_size: int, partitions: int) -> SqlProjection:
    """The read model `counters` of that kind."""
    if kind == "removable":
        return removable(batch_size=batch_size, partitions=partitions)
    return summed(merged=kind == "merged", batch_size=batch_size, partitions=partitions)


selected = made(
    os.environ.get("SELECT_KIND", "summed"),
    int(os.environ.get("SELECT_BATCH", "100")),
    int(os.environ.get("SELECT_PARTITIONS", "1")),
)
