"""Read models of large events, for REFOLD_PROJECTIONS of workers: of small rows, and of large."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import orjson
from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import BackfillPolicy, Event, Projection, Row
from refold.requests.poison_policy import OnPoison


def _made(name: str, *others: Column[Any]) -> Projection:
    return Projection(
        name,
        table=Table(
            name,
            MetaData(),
            Column("key", Text, primary_key=True),
            Column("events", Integer, nullable=False),
            Column("size", Integer, nullable=False),
            *others,
        ),
        key="data.key",
        backfill=BackfillPolicy(on_poison=OnPoison.SET_ASIDE),
    )


lengths = _made("lengths")
documents = _made("documents", Column("text", Text))


@lengths.on("Written")
def measured(row: Row | None, event: Event) -> Row | None:
    """Takes in the size of a document, not the document."""
    return _measured(row, event)


def _measured(row: Row | None, event: Event) -> Row:
    if event.data.get("torn"):
        raise ValueError("a torn document")
    before = row or {"events": 0, "size": 0}
    size = len(event.data.get("text", "")) + len(event.data.get("lines", []))
    return {"events": before["events"] + 1, "size": before["size"] + size}


@documents.on("Written")
def kept(row: Row | None, event: Event) -> Row:
    """Keeps the latest text whole."""
    before = row or {"text": None}
    return {**_measured(row, event), "text": event.data.get("text", before["text"])}


def lines(count: int, size: int) -> Iterator[bytes]:
    """Lines of an event file: events of so many bytes each, of one text or of many objects.

    Each key has two events, and every tenth one is torn.
    """
    text = Random(size).randbytes(size // 2).hex()
    some = [{"sku": f"sku-{n:06}", "n": n} for n in range(size // 32)]
    for number in range(count):
        data: dict[str, Any] = {"key": f"k{number // 2:04}"}
        if number % 10 == 9:
            data["torn"] = True
        data |= {"lines": some} if number % 4 == 2 else {"text": f"{number} {text}"}
        event = {"stream_id": f"s{number}", "type": "Written", "data": data}
        yield orjson.dumps(event) + b"\n"
