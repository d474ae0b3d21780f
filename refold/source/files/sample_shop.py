"""A seeded generator of a shop's events: one stream per invoice, many invoices open at a time.

Like the real data that it imitates it is untidy: a fifth of the events has no customer, some prices
are zero, stock corrections are negative, and the same article has several descriptions.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count, islice
from random import Random
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from refold.source.files.analysis import analyzed
from refold.source.files.event_file import check_event
from refold.source.files.importer import loading

_OPENING = datetime(2024, 1, 2, 8, tzinfo=UTC)
_SECONDS_BETWEEN_ORDERS = 60
_SECONDS_BETWEEN_ITEMS = 45
_SHARE_OF_GUESTS = 0.19
_SHARE_RETURNED = 0.1
_SHARE_OF_STOCK_CORRECTIONS = 0.02
_BATCH = 4000

_COLOURS = ("WHITE", "RED", "BLUE", "PINK", "GREEN", "IVORY", "BLACK", "SILVER")
_STYLES = ("VINTAGE", "SET OF 6", "REGENCY", "POLKA DOT", 'RETRO "SPOT"', "HANGING", "CHILDREN'S")
_THINGS = (
    "HEART HOLDER",
    "LANTERN",
    "MUG",
    "TEA TOWEL",
    "CAKE TIN",
    "DOORMAT",
    "CANDLE",
    "LUNCH BAG",
)
_ABROAD = ("Germany", "France", "EIRE", "Spain", "Netherlands", "Australia", "Norway")

_Event = dict[str, Any]


def shop_events(*, orders: int, seed: int) -> Iterator[_Event]:
    """Yields the events of that many orders, and of the credit notes that follow, in time order.

    The same arguments give the same events, on any machine and version of Python.

    Args:
        orders: How many `OrderPlaced` to make; each has some seven to eight other events.
        seed: Any integer.

    Yields:
        Objects as in an event file, with `version` and `recorded_at`.
    """
    # Only Random.random() is promised to stay the same from one Python to the next.
    shop = _Shop(Random(seed), orders)
    pending: list[tuple[float, int, _Event]] = []
    numbers = count()
    clock = 0.0
    for _ in range(orders):
        clock += shop.pause(_SECONDS_BETWEEN_ORDERS)
        while pending and pending[0][0] <= clock:
            yield _dated(heapq.heappop(pending))
        for seconds, event in shop.order(clock):
            heapq.heappush(pending, (seconds, next(numbers), event))
    while pending:
        yield _dated(heapq.heappop(pending))


async def seed_shop(engine: AsyncEngine, *, orders: int, seed: int = 1) -> int:
    """Loads the shop's events into the event store, all or none, by COPY as an import does.

    Returns:
        How many events were added.

    Raises:
        InvalidEventFile: The event store has the shop's invoices already.
        ImportConflict: Another transaction appended to the same streams at the same time.
    """
    made = (
        check_event(n, event) for n, event in enumerate(shop_events(orders=orders, seed=seed), 1)
    )
    async with loading(engine) as loader:
        while batch := list(islice(made, _BATCH)):
            await loader.add(batch)
        added = (await loader.result()).events
    await analyzed(engine, added)
    return added


def _dated(entry: tuple[float, int, _Event]) -> _Event:
    seconds, _, event = entry
    recorded_at = _OPENING + timedelta(seconds=int(seconds))
    return {**event, "recorded_at": recorded_at.isoformat()}


class _Shop:
    """Draws articles, customers and invoices from one source of chance."""

    def __init__(self, random: Random, orders: int) -> None:
        self._random = random.random
        self._customers = max(20, orders // 4)
        self._invoice = 500_000
        self._articles = [
            (f"{20000 + number}", f"{colour} {style} {thing}", self._price())
            for number, (colour, style, thing) in enumerate(
                (c, s, t) for c in _COLOURS for s in _STYLES for t in _THINGS
            )
        ]

    def pause(self, mean: float) -> float:
        """Seconds until the next of independent events."""
        return -math.log(1 - self._random()) * mean

    def order(self, seconds: float) -> Iterator[tuple[float, _Event]]:
        """An order placed then, and what follows from it: second and event, in stream order."""
        self._invoice += 1
        correction = self._random() < _SHARE_OF_STOCK_CORRECTIONS
        invoice = _Invoice(str(self._invoice), *self._customer(guest=correction))
        yield seconds, invoice.opened("OrderPlaced")
        if correction:
            yield seconds, invoice.line("StockAdjusted", self._item(lost=True))
            return
        items = [self._item() for _ in range(1 + int(self.pause(6.3)))]
        for item in items:
            seconds += self.pause(_SECONDS_BETWEEN_ITEMS)
            yield seconds, invoice.line("ItemAdded", item)
        if self._random() < _SHARE_RETURNED:
            yield from self._credit_note(invoice, items, seconds + self.pause(86_400))

    def _credit_note(
        self, invoice: _Invoice, items: list[_Event], seconds: float
    ) -> Iterator[tuple[float, _Event]]:
        note = _Invoice(f"C{invoice.number}", invoice.customer_id, invoice.country)
        yield seconds, note.opened("CreditNoteIssued")
        for item in items[: 1 + int(self.pause(1.2))]:
            units = 1 + int(self._random() * item["quantity"])
            yield seconds, note.line("ItemReturned", {**item, "quantity": units})

    def _customer(self, *, guest: bool) -> tuple[str | None, str]:
        if guest or self._random() < _SHARE_OF_GUESTS:
            return None, "United Kingdom"
        # Squared: a few customers order much more often than the others.
        number = int(self._customers * self._random() ** 2)
        abroad = number % 10 == 7
        return str(12_346 + number), _ABROAD[number % 7] if abroad else "United Kingdom"

    def _item(self, *, lost: bool = False) -> _Event:
        sku, description, price = self._articles[int(len(self._articles) * self._random() ** 2)]
        chance = self._random()
        if lost:
            units, description, price = -1 - int(chance * 40), "", "0.0"
        else:
            units = 1 + int(24 * chance**3)
        if chance < 0.01:
            description, price = description.replace("SET OF 6", "SET/6"), "0.0"
        return {"sku": sku, "description": description, "quantity": units, "unit_price": price}

    def _price(self) -> str:
        pence = 19 + int(1800 * self._random() ** 3)
        return f"{pence // 100}.{pence % 100:02}"


class _Invoice:
    """A stream that is being made; numbers its events."""

    def __init__(self, number: str, customer_id: str | None, country: str) -> None:
        self.number = number
        self.customer_id = customer_id
        self.country = country
        self._version = 0

    def opened(self, event_type: str) -> _Event:
        """The stream's first event."""
        return self.line(event_type, {"customer_id": self.customer_id, "country": self.country})

    def line(self, event_type: str, data: _Event) -> _Event:
        """The stream's next event."""
        self._version += 1
        return {
            "stream_id": f"invoice-{self.number}",
            "version": self._version,
            "type": event_type,
            "data": data,
            "metadata": {
                "correlation_id": self.number,
                "customer_id": self.customer_id,
                "country": self.country,
            },
        }
