"""An event of an order."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from refold.event import Event


def event(data: dict[str, Any] | None = None) -> Event:
    when = datetime(2024, 1, 1, tzinfo=UTC)
    return Event(7, "order-1", 1, "OrderPlaced", data or {}, {"source": "web-api"}, when)
