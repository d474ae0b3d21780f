"""The read model ``counters`` by a function that takes many events of a key at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sqlalchemy import Column, MetaData, Table

from refold import Event, Projection, Row
from tests.support.counters import counters

_CENT = Decimal("0.01")


def folding(
    each: Callable[[], None] = lambda: None,
) -> Callable[[Row | None, Sequence[Event]], Any]:
    """The function; `each` is called with each event."""

    def fold(row: Row | None, events: Sequence[Event]) -> Row | None:
        for event in events:
            each()
            if event.type == "Removed":
                row = None
                continue
            if event.type == "Broken":
                raise ValueError("this event cannot be taken")
            n, before = event.data["n"], row or {"count": 0, "sum": Decimal(0)}
            # Three decimals into a column of two: as the table rounds after each event, it does.
            total = (before["sum"] + Decimal(n) / 8).quantize(_CENT, ROUND_HALF_UP)
            row = {"count": before["count"] + 1, "sum": total, "last": n}
        return row

    return fold


def at_once(
    each: Callable[[], None] = lambda: None, *, name: str = "counters", **policy: Any
) -> Projection:
    """A projection like `counters`, of which `Broken` raises; `each` is called with each event."""
    right = counters(**policy)
    columns: list[Column[Any]] = [
        Column(c.name, c.type, primary_key=c.primary_key, nullable=c.nullable)
        for c in right.table.columns
    ]
    table = Table(name, MetaData(), *columns)
    made = Projection(name, table=table, key="data.key", backfill=right.backfill)
    made.fold_key("Added", "Removed", "Broken")(folding(each))
    return made
