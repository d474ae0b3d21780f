"""The tables of gaps, as SQLAlchemy sees them; see `refold.store.schema`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Table, Text

from refold.store.schema import metadata, now_column

passed_to = Table(
    "passed_to",
    metadata,
    Column("source", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
)
"""Up to which position all gaps of an event source are known; its lock lets one look at a time."""

passed_gaps = Table(
    "passed_gaps",
    metadata,
    Column("source", Text, primary_key=True),
    Column("low", BigInteger, primary_key=True, autoincrement=False),
    Column("high", BigInteger, nullable=False),
    now_column("passed_at"),
)
"""Positions from `low` to `high` (inclusive) that were passed although nobody had used them."""

late_events = Table(
    "late_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    now_column("found_at"),
)
"""Events that appeared in a gap after it was passed, in the order in which they were found."""
