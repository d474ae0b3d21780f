"""Small projections without a database, and events for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row


def table(*columns: Column[Any]) -> Table:
    return Table("t", MetaData(), *(columns or (Column("id", Text, primary_key=True),)))


def counted(key: Any = "stream_id", *more: Column[Any]) -> Projection:
    """A projection of a text key and a count, without handlers."""
    id_, n = Column("id", Text, primary_key=True), Column("n", Integer, nullable=False)
    return Projection("counted", table=table(id_, n, *more), key=key)


def pair(key: Any = ("data.shop", "data.sku")) -> Projection:
    """A projection with a composite key."""
    shop, sku = Column("shop", Text, primary_key=True), Column("sku", Integer, primary_key=True)
    return Projection("pair", table=table(shop, sku, Column("n", Integer)), key=key)


def event(position: int = 1, kind: str = "Added", /, **data: Any) -> Event:
    return Event(position, f"s-{position}", 1, kind, data, {}, datetime(2024, 1, 1, tzinfo=UTC))


def fails(row: Row | None, event: Event) -> Row:
    """A handler that takes no event."""
    raise KeyError("price")
