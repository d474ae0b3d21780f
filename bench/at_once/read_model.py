"""The read model order-summary by a function that takes many events of a key at once."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import MetaData, quoted_name

from projections.order_summary import order_summary
from refold import Event, Projection, Row

_table = order_summary.table.to_metadata(MetaData(), name="orders_at_once")
for _index in _table.indexes:
    _index.name = quoted_name(f"{_index.name}_at_once", quote=None)

orders_at_once = Projection("orders-at-once", table=_table, key="stream_id")


@orders_at_once.fold_key("OrderPlaced", "CreditNoteIssued", "ItemAdded", "ItemReturned")
def folded(row: Row | None, events: Sequence[Event]) -> Row:
    """An order after some of its events."""
    if row is None:
        first = events[0]
        placed = first.type in {"OrderPlaced", "ItemAdded"}
        row = {
            "customer_id": first.metadata.get("customer_id"),
            "items": 0,
            "total": Decimal(0),
            "returned": Decimal(0),
            "status": "placed" if placed else "credited",
        }
    items, total, returned = row["items"], row["total"], row["returned"]
    for event in events:
        kind, data = event.type, event.data
        if kind == "ItemAdded":
            items += data["quantity"]
            total += data["quantity"] * Decimal(data["unit_price"])
        elif kind == "ItemReturned":
            returned += data["quantity"] * Decimal(data["unit_price"])
    return {**row, "items": items, "total": total, "returned": returned}
