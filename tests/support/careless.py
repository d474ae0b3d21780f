"""A read model of things that nobody should see, for REFOLD_PROJECTIONS of worker processes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, Column, MetaData, String, Table, Text

from refold import BackfillPolicy, Event, Projection, Row
from refold.predicates.named import predicate

careless = Projection(
    "careless",
    table=Table(
        "careless",
        MetaData(),
        Column("key", String(40), primary_key=True),
        Column("email", Text, unique=True),
        Column("note", Text),
        CheckConstraint("length(note) < 1000", name="short_note"),
    ),
    key="data.key",
    backfill=BackfillPolicy(batch_size=10),
)


@careless.on("Noted")
def noted(row: Row | None, event: Event) -> Row:
    return {"email": event.data["email"], "note": event.data["note"]}


@careless.on("Poison")
def poison(row: Row | None, event: Event) -> Row:
    return {"email": event.data["absent"], "note": event.metadata["absent"]}


@predicate("leaky")
def leaky(event: Event) -> Any:
    return event.data["note"]
