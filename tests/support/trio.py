"""Three read models of the same events, for REFOLD_PROJECTIONS of worker processes."""

from __future__ import annotations

from tests.support.counters import counters, siblings

first = counters()
second, third = siblings()

TRIO = [first, second, third]
