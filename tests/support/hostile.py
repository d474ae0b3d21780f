"""The read model ``guests``: names, values and errors of its events are what a page must escape."""

from __future__ import annotations

from sqlalchemy import Column, MetaData, Table, Text

from refold import BackfillPolicy, Event, OnPoison, Projection, Row

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
SECRET = "secret-5f1c"
"""A value of events; a page without control never has it."""

GREETED = (f"{HOSTILE}-1", "Greeted", {"key": HOSTILE, "name": f"{SECRET} {HOSTILE}"})
BROKEN = (f"{SECRET}-2", "Broken", {"key": "other", "name": f"{SECRET} {HOSTILE}"})

guests = Projection(
    "guests",
    table=Table(
        "guests",
        MetaData(),
        Column("key", Text, primary_key=True),
        Column("name", Text, nullable=False),
    ),
    key="data.key",
    backfill=BackfillPolicy(
        batch_size=10, partitions=2, max_dead_letters=5, on_poison=OnPoison.SET_ASIDE
    ),
)


@guests.on("Greeted")
def greeted(row: Row | None, event: Event) -> Row:
    return {"name": event.data["name"]}


@guests.on("Broken")
def broken(row: Row | None, event: Event) -> Row:
    raise ValueError(f"cannot take {event.data['name']}")


@guests.on("Left")
def left(row: Row | None, event: Event) -> None:
    return None
