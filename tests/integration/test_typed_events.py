"""Typed events and upcasters on real servers: as if the log held the newest versions alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import (
    Column,
    Identity,
    Integer,
    MetaData,
    Numeric,
    Table,
    Text,
    insert,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from temporalio.client import Client

from refold import BackfillPolicy, Event, EventSource, Projection, Row, TypedEvent, upcast
from refold.manager.projections import ProjectionManager
from refold.projection.key import Key
from refold.projection.reading.upcasting import UPCASTERS
from refold.requests.poison_policy import OnPoison
from refold.source.port.current import using
from refold.store.schema import events
from tests.support.counters import registry_of
from tests.support.databases import Database
from tests.support.letters import failed, letters
from tests.support.live import ended_after, live, until_status
from tests.support.runs import checkpoint, leftovers, queue, rows_of, run, start, until, working
from tests.support.soaking import soak

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Line(BaseModel):
    sku: str
    quantity: int = Field(ge=0)


class Ordered(BaseModel):
    """Version 3: its lines; version 2 has one line; version 1, `Bought`, is flat."""

    key: str
    lines: list[Line]
    currency: str


@dataclass(frozen=True)
class Paid:
    """Its key is at another path; version 1, `Payment`, has cents."""

    event_type: ClassVar[str] = "order.paid"
    order: str
    amount: Decimal


@pytest.fixture(autouse=True)
def upcasters() -> Iterator[None]:
    with UPCASTERS.set_apart():
        upcast("Bought", from_version=1, to_type="Ordered", to_version=2)(_with_a_line)
        upcast("Ordered", from_version=2)(_with_lines)
        upcast("Payment", from_version=1, to_type="order.paid")(_in_units)
        yield


def _with_a_line(event: Event) -> dict[str, Any]:
    line = {"sku": event.data["sku"], "quantity": event.data["quantity"]}
    return {"key": event.data["key"], "line": line}


def _with_lines(event: Event) -> dict[str, Any]:
    currency = "EUR" if event.recorded_at.year < 2027 else "CHF"
    return {"key": event.data["key"], "lines": [event.data["line"]], "currency": currency}


def _in_units(event: Event) -> dict[str, Any]:
    return {"order": event.data["order"], "amount": str(Decimal(event.data["cents"]) / 100)}


def orders(**policy: Any) -> Projection:
    """Counts and sums for each key, with handlers of classes."""
    projection = _declared(BackfillPolicy(**{"batch_size": 7, "partitions": 2, **policy}))

    @projection.on(Ordered)
    def ordered(row: Row | None, event: TypedEvent[Ordered]) -> Row:
        row = row or {"units": 0, "paid": Decimal(0)}
        units = sum(line.quantity for line in event.data.lines)
        return {**row, "units": row["units"] + units, "last": event.data.currency}

    @projection.on(Paid, key="data.order")
    def paid(row: Row | None, event: TypedEvent[Paid]) -> Row | None:
        return None if row is None else {**row, "paid": row["paid"] + event.data.amount}

    return projection


def newest() -> Projection:
    """The same without classes, for events of the newest versions: the oracle."""
    projection = _declared(BackfillPolicy())

    @projection.on("Ordered")
    def ordered(row: Row | None, event: Event) -> Row:
        row = row or {"units": 0, "paid": Decimal(0)}
        units = sum(line["quantity"] for line in event.data["lines"])
        return {**row, "units": row["units"] + units, "last": event.data["currency"]}

    @projection.on("order.paid", key="data.order")
    def paid(row: Row | None, event: Event) -> Row | None:
        amount = Decimal(event.data["amount"])
        return None if row is None else {**row, "paid": row["paid"] + amount}

    return projection


def _declared(policy: BackfillPolicy) -> Projection:
    table = Table(
        "orders",
        MetaData(),
        Column("key", Text, primary_key=True),
        Column("units", Integer, nullable=False),
        Column("paid", Numeric(14, 2), nullable=False),
        Column("last", Text),
    )
    return Projection("orders", table=table, key="data.key", backfill=policy)


def made(random: Random, count: int) -> list[Event]:
    """Events of the newest versions."""
    found = []
    for _ in range(count):
        key = f"k{random.randrange(6)}"
        if random.random() < 0.2:
            data: dict[str, Any] = {"order": key, "amount": f"{random.randrange(1000) / 100:.2f}"}
            found.append(Event(0, key, 0, "order.paid", data, {}, NOON))
            continue
        line = {"sku": "tea", "quantity": random.randrange(5)}
        data = {"key": key, "lines": [line] * random.choice([1, 1, 2]), "currency": "EUR"}
        found.append(Event(0, key, 0, "Ordered", data, {}, NOON))
    return found


def stored(random: Random, event: Event) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """An event as it may be in the log, in one of its versions: type, data and metadata."""
    version = random.choice([1, 2, 3])
    if event.type == "order.paid" and version == 1:
        cents = int(Decimal(event.data["amount"]) * 100)
        return "Payment", {"order": event.data["order"], "cents": cents}, {}
    if event.type == "order.paid" or version == 3 or len(event.data["lines"]) > 1:
        metadata = {"schema_version": 3} if event.type == "Ordered" else {}
        return event.type, event.data, metadata
    (line,) = event.data["lines"]
    if version == 2:
        return event.type, {"key": event.data["key"], "line": line}, {"schema_version": "2"}
    return "Bought", {"key": event.data["key"], **line}, {}


class Log:
    """Writes events in any version, and knows what rows they are in the newest."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database, self.random = database, Random(seed)
        self.newest: list[Event] = []

    async def add(self, count: int) -> int:
        new = made(self.random, count)
        await self.put([stored(self.random, event) for event in new])
        self.newest += new
        return await self.head()

    async def put(self, new: list[tuple[str, dict[str, Any], dict[str, Any]]]) -> None:
        first = await self.head() + 1
        rows = [
            {"stream_id": f"s{first + n}", "version": 1, "type": kind, "data": data}
            | {"metadata": metadata, "recorded_at": NOON}
            for n, (kind, data, metadata) in enumerate(new)
        ]
        async with self.database.engine.begin() as connection:
            await connection.execute(insert(events), rows)

    async def head(self) -> int:
        async with self.database.engine.connect() as connection:
            return int(
                await connection.scalar(text("SELECT max(position) FROM refold.events")) or 0
            )

    async def assert_rows(self) -> dict[Key, Row]:
        rows = await rows_of(self.database.engine, orders())
        assert rows == newest().fold(self.newest)
        return rows


@pytest.mark.parametrize("seed", [1, *soak(*range(2, 12))])
async def test_every_route_folds_what_the_newest_versions_would_be(
    client: Client, database: Database, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr("refold.activities.live._YIELD_SECONDS", 0.1)
    log, projection = Log(database, seed), orders()
    await log.add(70)
    async with (
        working(client, database, registry_of(projection)),
        live(client, database, projection="orders") as handle,
    ):
        # Six keys of about twelve events, seven in a batch: batches end within keys.
        await run(client, database, "Rebuild", "orders")
        await log.assert_rows()
        await handle.signal("restart")
        await until_status(handle, "live")
        position = await log.add(35)

        async def followed() -> bool:
            return await checkpoint(database.engine, projection) == position

        await until(followed)
        await log.assert_rows()
        async with database.engine.begin() as connection:
            await connection.execute(text("UPDATE orders SET units = 0 WHERE key < 'k3'"))
        result = await run(client, database, "Backfill", "orders")
        await log.assert_rows()
        predicate = 'event.type == "Bought"'  # as it is stored
        result = await run(
            client, database, "Backfill", "orders", criteria="custom_predicate", predicate=predicate
        )
        assert result.events_processed > 0
        # The comparison with the live table folds some keys again.
        started = await start(client, database, "Rebuild", {"projection": "orders"})
        assert (await started.result()).status == "completed"
        found = await started.query("diff")
        assert (found["changed"], found["added"], found["removed"]) == (0, 0, 0)
        rows = await log.assert_rows()
        assert projection.fold(await _read(database, projection)) == rows
    assert await leftovers(database.engine) == []


async def _read(database: Database, projection: Projection) -> list[Event]:
    async with database.engine.connect() as connection:
        found = await connection.execute(text("SELECT * FROM refold.events ORDER BY position"))
        return [Event(*record) for record in found]


async def test_what_does_not_validate_obeys_the_policy_and_is_healed(
    client: Client, database: Database
) -> None:
    log = Log(database, 5)
    await log.add(30)
    line = {"sku": "tea", "quantity": "my-secret"}
    wrong: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("Ordered", {"key": "k1", "lines": [line], "currency": "EUR"}, {"schema_version": 3}),
        ("Bought", {"key": "k2", "sku": "tea"}, {}),
        ("order.paid", {"order": "k3", "amount": "my-secret"}, {"schema_version": 7}),
        ("Ordered", {"key": "k4"}, {"schema_version": "my-secret"}),
    ]
    await log.put(wrong)
    manager = ProjectionManager(client, database.url, task_queue=queue(database))
    async with ended_after(client, "backfill/orders"):
        async with working(client, database, registry_of(orders())):
            started = await start(client, database, "Rebuild", {"projection": "orders"})
            cause = await failed(started)
            assert cause.type == "PoisonEvent"
            assert "my-secret" not in cause.message
        aside = orders(on_poison=OnPoison.SET_ASIDE)
        async with working(client, database, registry_of(aside)):
            result = await run(client, database, "Rebuild", "orders")
            assert result.dead_letters == 4
            found = {one.key[0]: one for one in await letters(database, "orders") if one.key}
            assert "data.lines.0.quantity: Input should be a valid integer" in found["k1"].error
            assert (found["k1"].type, found["k2"].type) == ("Ordered", "Bought")
            assert "upcaster '_with_a_line' (Bought, from version 1): KeyError" in found["k2"].error
            assert "data.amount: Input should be a valid decimal" in found["k3"].error
            assert "metadata.schema_version: expected a schema version" in found["k4"].error
            assert "my-secret" not in "".join(f"{one.error}{one.trace}" for one in found.values())
            assert "in _with_a_line" in (found["k2"].trace or "")
        with UPCASTERS.set_apart():
            upcast("Bought", from_version=1, to_type="Ordered", to_version=2)(
                lambda event: _with_a_line(
                    event._replace(data={"quantity": 0, **event.data})  # mended
                )
            )
            upcast("Ordered", from_version=2)(_with_lines)
            upcast("Payment", from_version=1, to_type="order.paid")(_in_units)
            async with working(client, database, registry_of(aside)):
                result = await manager.retry_dead_letters("orders")
                assert result.dead_letters == 3
                assert {one.key[0] for one in await letters(database, "orders") if one.key} == {
                    *("k1", "k3", "k4")
                }
    rows = await rows_of(database.engine, aside)
    expected = newest().fold(log.newest)
    assert rows == expected


async def test_a_column_may_say_the_schema_version(client: Client, database: Database) -> None:
    table = Table(
        "app_events",
        MetaData(),
        Column("id", Integer, Identity(), primary_key=True),
        Column("kind", Text, nullable=False),
        Column("revision", Text),
        Column("payload", JSONB, nullable=False),
    )
    source = EventSource(
        table,
        position=table.c.id,
        type=table.c.kind,
        data=table.c.payload,
        metadata={"schema_version": table.c.revision},
        recorded_at=literal(NOON),
    )
    random = Random(3)
    new = made(random, 60)
    written = [stored(random, event) for event in new]
    async with database.engine.begin() as connection:
        await connection.run_sync(table.metadata.create_all)
        rows = [
            {
                "kind": kind,
                "payload": data,
                "revision": str(metadata.get("schema_version", 1)),
            }
            for kind, data, metadata in written
        ]
        await connection.execute(insert(table), rows)
    with using(source):
        async with working(client, database, registry_of(orders())):
            await run(client, database, "Rebuild", "orders")
    assert await rows_of(database.engine, orders()) == newest().fold(new)
