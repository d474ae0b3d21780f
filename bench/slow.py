"""Projections whose handlers take their time, for `bench.slow_handlers`."""

from __future__ import annotations

import time

from sqlalchemy import Column, Integer, MetaData, Table, Text

from refold import Event, Projection, Row

_metadata = MetaData()


def _projection(name: str) -> Projection:
    table = Table(
        name.replace("-", "_"),
        _metadata,
        Column("stream", Text, primary_key=True),
        Column("events", Integer, nullable=False),
    )
    return Projection(name, table=table, key="stream_id")


def _counted(row: Row | None) -> Row:
    return {"events": (row or {"events": 0})["events"] + 1}


slow_50_ms = _projection("slow-50-ms")
slow_60_s = _projection("slow-60-s")
slow_for_ever = _projection("slow-for-ever")


@slow_50_ms.on("OrderPlaced")
def takes_50_ms(row: Row | None, event: Event) -> Row | None:
    time.sleep(0.05)
    return _counted(row)


@slow_60_s.on("OrderPlaced")
def takes_60_s(row: Row | None, event: Event) -> Row | None:
    time.sleep(60)
    return _counted(row)


@slow_for_ever.on("OrderPlaced")
def never_returns(row: Row | None, event: Event) -> Row | None:
    while event.position:  # pure Python: it leaves the interpreter to nobody of its own accord
        pass
    return _counted(row)
