"""Moments as people and files write them."""

from __future__ import annotations

import re

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
"""Date, time and time zone; there need not be such a date."""
