"""Table `refold.mirrors`, as SQLAlchemy sees it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Table, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB

from refold.store.schema import metadata

mirrors = Table(
    "mirrors",
    metadata,
    Column("mirror", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("cursor", JSONB(none_as_null=True)),
    Column("fence", BigInteger, nullable=False, server_default="0"),
    Column("events", BigInteger, nullable=False, server_default="0"),
    Column("position", BigInteger),
    Column("recorded_at", DateTime(timezone=True)),
    Column("caught_up", Boolean, nullable=False, server_default=text("false")),
    Column("paced_until", DateTime(timezone=True)),
    Column("workflow_id", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("installation", Text),
    Column("requested_by", Text),
    Column("started_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
)
"""One row per mirror; `cursor` moves in the transaction that writes the events up to it.

`source` says what is copied from, `position` and `recorded_at` are those of the last event that was
copied, `events` how many were, `caught_up` whether the source had no more when it was asked last,
`seen_at` when the mirror last showed itself, `ended_at` when it was cancelled.
"""
