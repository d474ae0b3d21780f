"""A team's read models, for workers that import them: REFOLD_PROJECTIONS names this module."""

from __future__ import annotations

from tests.support.counters import counters

projection = counters()
