"""A read model that keeps count of its folds, for REFOLD_PROJECTIONS of worker processes.

The handler is not pure, on purpose: with COUNT_FILE set it appends each event's position to that
file, so that a test sees how often an event was folded, over all processes and all their deaths;
and it takes its time, so that deaths come in the middle. Without COUNT_FILE it is pure and quick:
so it is in the test's own process, for the oracle.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Numeric, Table, Text

from refold import BackfillPolicy, Event, Projection, Row

BATCH_SIZE = 200
PARTITIONS = 3
EVENTS_PER_KEY = 20

_SECONDS_PER_EVENT = 0.0003

_name = os.environ.get("COUNT_FILE")
_file = os.open(_name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if _name else None

counting = Projection(
    "counting",
    table=Table(
        "counting",
        MetaData(),
        Column("key", Text, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("sum", Numeric(14, 2), nullable=False),
        Column("last", Integer, nullable=False),
    ),
    key="data.key",
    backfill=BackfillPolicy(
        batch_size=BATCH_SIZE, partitions=PARTITIONS, max_concurrency=PARTITIONS
    ),
)


@counting.on("Added")
def added(row: Row | None, event: Event) -> Row:
    if _file is not None:
        os.write(_file, b"%d\n" % event.position)
        end = time.perf_counter() + _SECONDS_PER_EVENT
        while time.perf_counter() < end:
            pass
    row = row or {"count": 0, "sum": Decimal(0)}
    return {
        "count": row["count"] + 1,
        "sum": row["sum"] + Decimal(event.data["n"]) / 8,
        "last": event.data["n"],
    }


def counted_events(keys: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Events of so many keys, interleaved."""
    return [
        (f"s{k}", "Added", {"key": f"k{k:05}", "n": n * keys + k})
        for n in range(EVENTS_PER_KEY)
        for k in range(keys)
    ]


def folds(file: Path) -> Counter[int]:
    """How often each position was folded. A line that a kill cut short would not parse."""
    return Counter(int(line) for line in file.read_text().splitlines())
