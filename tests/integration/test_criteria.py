"""Each criterion on real events: the selected keys are right after it, all others untouched."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

import orjson
import pytest
from sqlalchemy import delete, insert, update
from temporalio.client import Client

from refold import Event, Projection, Row
from refold.messages.run.preview import Preview
from refold.projection.key import Key
from refold.projection.registry import Registry
from refold.source.files.importer import import_events
from refold.stack.postgres import EmbeddedPostgres
from tests.conftest import REAL_EVENTS
from tests.support.databases import Database, drop_database, make_database
from tests.support.runs import events_upto, leftovers, rows_of, run, working

# Of a fifth of the orders, over all of the time.
HEAD = 23_270
NAMES = ["order-summary", "product-sales"]


@dataclass
class Shop:
    """The real events, two read models of them, and what these must be."""

    database: Database
    registry: Registry
    events: dict[str, list[Event]] = field(default_factory=dict)
    right: dict[str, dict[Key, Row]] = field(default_factory=dict)

    async def build(self, client: Client, name: str) -> None:
        """Has a read model, when it is first needed."""
        if name not in self.right:
            projection = self.registry.get(name)
            await run(client, self.database, "Rebuild", name)
            self.events[name] = await events_upto(self.database.engine, projection)
            self.right[name] = projection.fold(self.events[name])


@pytest.fixture(scope="module")
async def real(
    template: EmbeddedPostgres,
    client: Client,
    shop: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Shop]:
    if not REAL_EVENTS.exists():
        pytest.skip(f"{REAL_EVENTS} is not here")
    database = await make_database(template)
    await import_events(database.engine, some_orders(tmp_path_factory.mktemp("real")))
    made = Shop(database, shop)
    async with working(client, database, shop):
        yield made
    await drop_database(template, database)


def some_orders(directory: Path) -> Path:
    """A file of the real events of every fifth order or so, whole orders in their order."""
    file = directory / "events.ndjson"
    with gzip.open(REAL_EVENTS) as all_of_them, file.open("wb") as some:
        for line in all_of_them:
            if crc32(orjson.loads(line)["stream_id"].encode()) % 5 == 4:
                some.write(line)
    return file


@pytest.fixture(scope="module")
def client(temporal: Any) -> Client:
    return temporal.client  # type: ignore[no-any-return]


def date(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def days_since(text: str) -> int:
    return (datetime.now(UTC) - date(text)).days


@dataclass
class Case:
    """A criterion: what is asked for, and in plain Python which events that selects."""

    name: str
    asked: dict[str, Any]
    selects: Callable[[Event], bool]


DAYS = days_since("2011-02-25")
CASES = [
    Case(
        "date_range",
        {
            "criteria": "date_range",
            "from_date": "2011-01-10T00:00:00+01:00",
            "to_date": "2011-01-12T00:00:00Z",
        },
        lambda event: (
            datetime(2011, 1, 9, 23, tzinfo=UTC)
            <= event.recorded_at
            < datetime(2011, 1, 12, tzinfo=UTC)
        ),
    ),
    Case(
        "from_date",
        {"criteria": "from_date", "from_date": "2011-02-27T09:59:00Z"},
        lambda event: event.recorded_at >= datetime(2011, 2, 27, 9, 59, tzinfo=UTC),
    ),
    Case(
        "last_n_days",
        {"criteria": "last_n_days", "last_n": DAYS},
        # Nothing happened in the small hours around the edge.
        lambda event: (datetime.now(UTC) - event.recorded_at).total_seconds() <= DAYS * 86_400,
    ),
    Case(
        "event_number_range",
        {"criteria": "event_number_range", "from_position": 5000, "to_position": 5999},
        lambda event: 5000 <= event.position <= 5999,
    ),
    Case(
        "from_event_number",
        {"criteria": "from_event_number", "from_position": HEAD - 400},
        lambda event: event.position >= HEAD - 400,
    ),
    Case(
        "last_n_events",
        {"criteria": "last_n_events", "last_n": 777},
        lambda event: event.position > HEAD - 777,
    ),
    Case(
        "custom_predicate",
        {
            "criteria": "custom_predicate",
            "predicate": 'event.metadata.country == "Iceland" && event.type.startsWith("Item")',
        },
        lambda event: event.metadata.get("country") == "Iceland" and event.type.startswith("Item"),
    ),
    Case("full_rebuild", {"criteria": "full_rebuild"}, lambda event: True),
]


async def corrupt(real: Shop, projection: Projection, selected: set[Key], seed: int) -> None:
    """Changes, deletes and adds rows at random, of selected keys and of others."""
    random = Random(seed)
    table = projection.table
    named = table.c[projection.key_columns[0]]
    rows = real.right[projection.name]
    number = next(c for c in table.columns if c.name in ("items", "total_orders", "units"))
    chosen = random.sample(sorted(selected), min(20, len(selected)))
    others = random.sample(sorted(rows.keys() - selected), min(20, len(rows.keys() - selected)))
    async with real.database.engine.begin() as connection:
        for keys in (chosen, others):
            half = len(keys) // 2
            await connection.execute(
                update(table).where(named.in_(keys[:half])).values({number.name: -7})
            )
            await connection.execute(delete(table).where(named.in_(keys[half:])))
        some = next(iter(rows.values()))
        stray = {**some, named.name: f"stray-{seed}"}
        await connection.execute(insert(table).values(stray))


# Those in the suite, by whether they are atomic: by dates, positions and a predicate.
QUICK = {
    False: ("date_range", "custom_predicate"),
    True: ("event_number_range",),
}


@pytest.mark.parametrize(
    ("case", "atomic"),
    [
        pytest.param(
            case,
            atomic,
            id=f"{case.name}-{'atomic' if atomic else 'in place'}",
            marks=() if case.name in QUICK[atomic] else pytest.mark.soak,
        )
        for case in CASES
        for atomic in (False, True)
    ],
)
async def test_selected_keys_are_right_and_others_untouched(
    client: Client, real: Shop, case: Case, atomic: bool
) -> None:
    seed = CASES.index(case) + 1
    # Both read models have their turn: one by stream, which has an index, and one by data.
    projection = real.registry.get(NAMES[(seed + atomic) % 2])
    await real.build(client, projection.name)
    events, right = real.events[projection.name], real.right[projection.name]
    keys_of = projection.rows.keys_of
    selected = {k for event in events if case.selects(event) for k in keys_of(event)}
    assert selected
    await corrupt(real, projection, selected & right.keys(), seed)
    before = await rows_of(real.database.engine, projection)
    kind = "Rebuild" if atomic and seed % 4 < 2 else "Backfill"
    more = {"is_atomic": True} if atomic else {}
    wrong = {key for key in selected if before.get(key) != right.get(key)}
    if not atomic:
        plan = await foretold(client, real, kind, projection, case.asked)
        assert plan.selected_keys in (None, len(selected))
        assert plan.foretold is not None
        if plan.foretold.all_keys:
            found = plan.foretold
            assert found.added + found.removed + found.changed == len(wrong)
        assert await rows_of(real.database.engine, projection) == before
    result = await run(
        client, real.database, kind, projection.name, **case.asked, **more, batch_size=100
    )
    assert (result.status, result.position) == ("completed", HEAD)
    after = await rows_of(real.database.engine, projection)
    assert {k: after.get(k) for k in selected} == {k: right.get(k) for k in selected}
    if case.name == "full_rebuild":
        assert after == right
    else:
        others = (before.keys() | after.keys()) - selected
        assert {k: after.get(k) for k in others} == {k: before.get(k) for k in others}
        assert after != right  # the others are still as wrong as they were
    assert await leftovers(real.database.engine) == []


async def foretold(
    client: Client, real: Shop, kind: str, projection: Projection, asked: dict[str, Any]
) -> Preview:
    """What it says that it would do."""
    result = await run(client, real.database, kind, projection.name, **asked, dry_run=True)
    assert result.plan is not None
    return result.plan
