"""An application on eventsourcing."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

More = list[Decimal | UUID]


class Tally(Aggregate):
    """An aggregate whose events have values that are not JSON."""

    @event("Opened")
    def __init__(self, price: Decimal) -> None:
        self.price = price

    @event("Added")
    def add(self, key: str, n: int, t: str, at: datetime, more: More) -> None:
        """Adds a number."""

    @event("Noted")
    def note(self, key: str, n: int, t: str, at: datetime, more: More) -> None:
        """Notes a number."""

    @event("Removed")
    def remove(self, key: str, n: int, t: str, at: datetime, more: More) -> None:
        """Removes all numbers."""


class Shop(Application[UUID]):
    """Its events are in the table `shop_events`."""
