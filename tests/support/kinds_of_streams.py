"""A read model whose rows several kinds of streams make, each with a key of its own."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import Column, Date, Integer, MetaData, Table, Text, insert, text

from refold import BackfillPolicy, Event, Projection, Row, Snapshots, lower, month, split
from refold.requests.poison_policy import OnPoison
from refold.store.schema import events
from tests.support.databases import Database
from tests.support.runs import NOON

OF_TYPES: dict[str, Any] = {
    "Subscribed": ("stream_id", month("recorded_at")),
    "InvoiceIssued": ("data.subscription", month("data.due")),
    "PaymentReceived": (lower(split("data.reference", "/", -1)), month("recorded_at")),
    "Noted": (lower("metadata.about"), month("metadata.at")),
}
ODD = (None, "", "2024-02-30", "SUB-1", 7, ["x"])


def kinds_of_streams(*, mended: bool = False, **policy: Any) -> Projection:
    """The read model; an event ``Noted`` may be poison until it is mended."""
    made = Projection(
        "kinds",
        table=Table(
            "kinds",
            MetaData(),
            Column("subscription", Text, primary_key=True),
            Column("month", Date, primary_key=True),
            Column("events", Integer, nullable=False),
            Column("trace", Text, nullable=False),
        ),
        key=OF_TYPES["Subscribed"],
        snapshots=Snapshots.automatic(every_n_events=40, keep_last=None),
        backfill=BackfillPolicy(
            **{"batch_size": 40, "partitions": 3, **policy},
            on_poison=OnPoison.SET_ASIDE,
            max_dead_letters=10_000,
        ),
    )

    def counted(row: Row | None, event: Event) -> Row | None:
        if event.data.get("ends"):
            return None
        if event.data.get("bad") and not mended:
            raise ValueError("not yet")
        before = row or {"events": 0, "trace": ""}
        trace = f"{before['trace'][-40:]} {event.type[0]}{event.position}"
        return {"events": before["events"] + 1, "trace": trace}

    made.on("Subscribed")(counted)
    for name, key in OF_TYPES.items():
        if name != "Subscribed":
            made.on(name, key=key)(counted)
    return made


async def append_kinds(database: Database, chance: Random, count: int) -> None:
    """Appends random events of all kinds, some without a key or with one that does not fit."""
    rows = [_drawn(chance) for _ in range(count)]
    async with database.engine.begin() as connection:
        known = await connection.scalar(text("SELECT coalesce(max(version), 0) FROM refold.events"))
        numbered = [{**row, "version": known + n + 1} for n, row in enumerate(rows)]
        await connection.execute(insert(events), numbered)


def _drawn(chance: Random) -> dict[str, Any]:
    kind = chance.choice([*OF_TYPES, "Other"])
    name = f"sub-{chance.choice('éaèb')}{chance.randrange(4)}"
    at = NOON + timedelta(hours=chance.randrange(24 * 90))
    odd = chance.random() < 0.06
    data: dict[str, Any] = {"bad": kind == "Noted" and chance.random() < 0.03}
    data["ends"] = chance.random() < 0.04
    data["subscription"] = chance.choice(ODD) if odd else name
    data["due"] = chance.choice([*ODD, _written(chance, at)]) if odd else _written(chance, at)
    data["reference"] = chance.choice([name, f"x/{name.upper()}", f"{name.title()}"])
    return {
        "stream_id": name if kind == "Subscribed" else f"{kind}-{chance.randrange(50)}",
        "type": kind,
        "data": data,
        "metadata": {"about": name.upper(), "at": chance.choice(ODD) if odd else at.isoformat()},
        "recorded_at": at,
    }


def _written(chance: Random, at: datetime) -> str:
    zone = chance.choice(["", "Z", "+05:30", "-11:00"])
    return chance.choice([at.date().isoformat(), f"{at:%Y-%m-%dT%H:%M:%S}{zone}"])
