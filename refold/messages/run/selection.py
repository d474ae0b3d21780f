"""Which events name the keys that a run repairs."""

from __future__ import annotations

from datetime import datetime

from refold.messages.base import Message
from refold.requests.criteria import Criteria


class Selection(Message):
    """Which events name the keys to repair; all that depends on the moment is fixed.

    Attributes:
        criteria: What was asked for.
        from_position: From this position (inclusive).
        to_position: Up to this position (inclusive): at most the head of the plan.
        from_date: Recorded at this moment or later; None for no bound.
        to_date: Recorded before this moment (exclusive); None for no bound.
        predicate: And satisfying this CEL expression.
        predicate_name: And satisfying this predicate registered in Python.
        tenant: And of this tenant.
        missing: And of keys that have no row in the live table.
    """

    criteria: Criteria
    from_position: int
    to_position: int
    from_date: datetime | None = None
    to_date: datetime | None = None
    predicate: str | None = None
    predicate_name: str | None = None
    tenant: str | None = None
    missing: bool = False
