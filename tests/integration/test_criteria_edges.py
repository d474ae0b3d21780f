"""What criteria mean at their edges: each with its defined result, or its clear error."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from refold import Event, predicate
from refold.projection.registry import Registry
from refold.stack.postgres import EmbeddedPostgres
from refold.store.schema import events
from tests.support.counters import counters
from tests.support.databases import Database, drop_database, make_database
from tests.support.runs import assert_oracle, rows_of, run, working
from tests.support.soaking import mostly_soak

# Clocks in Berlin jump from 02:00 to 03:00 at 01:00 UTC on the first of these days, and from 03:00
# back to 02:00 at 01:00 UTC on the other.
SPRING = datetime(2026, 3, 29, 0, 0, tzinfo=UTC)
AUTUMN = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
TIMES = {
    "early": datetime(1900, 1, 1, tzinfo=UTC),
    "spring-before": SPRING + timedelta(minutes=59),
    "spring-jump": SPRING + timedelta(hours=1),
    "autumn-first": AUTUMN + timedelta(minutes=30),
    "autumn-second": AUTUMN + timedelta(minutes=90),
    "late": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    # Recorded long before its place in the log: dates need not ascend.
    "out-of-order": SPRING + timedelta(minutes=30),
}
ALL = set(TIMES)


@predicate("is-spring")
def is_spring(event: Event) -> bool:
    return bool(event.data["key"].startswith("spring"))


@pytest.fixture(scope="module")
def client(temporal: Any) -> Client:
    found: Client = temporal.client
    return found


@pytest.fixture(scope="module")
async def logged(template: EmbeddedPostgres, client: Client) -> AsyncIterator[Database]:
    database = await make_database(template)
    async with database.engine.begin() as connection:
        for key, at in TIMES.items():
            await connection.execute(
                insert(events).values(
                    stream_id=key,
                    version=1,
                    type="Added",
                    data={"key": key, "n": len(key)},
                    metadata={"tenant": key[:3]},
                    recorded_at=at,
                )
            )
        await connection.execute(
            insert(events).values(stream_id="z", version=1, type="Unread", data={"key": "early"})
        )
    registry = Registry([counters()], predicates=[is_spring])
    async with working(client, database, registry, tenant_path="metadata.tenant"):
        await run(client, database, "Rebuild", "counters")
        yield database
    await drop_database(template, database)


@dataclass
class Case:
    name: str
    asked: dict[str, Any]
    keys: set[str]


SELECTS = [
    Case(
        "in the hour that clocks skip",
        {"from_date": "2026-03-29T02:00:00+01:00", "to_date": "2026-03-29T03:00:01+02:00"},
        {"spring-jump"},
    ),
    Case(
        "until the clocks jump, exclusive",
        {"from_date": "2026-03-29T00:00:00Z", "to_date": "2026-03-29T01:00:00Z"},
        {"spring-before", "out-of-order"},
    ),
    Case(
        "half past two, the second time",
        {"from_date": "2026-10-25T02:30:00+01:00", "to_date": "2026-10-25T02:30:01+01:00"},
        {"autumn-second"},
    ),
    Case(
        "from a date, inclusive", {"from_date": "2026-10-25T01:30:00Z"}, {"autumn-second", "late"}
    ),
    Case("from the first moment there is", {"from_date": "0001-01-01T00:00:00Z"}, ALL),
    Case("after the last event", {"from_date": "9999-12-31T23:59:59.5Z"}, set()),
    Case("more days than there ever were", {"criteria": "last_n_days", "last_n": 10**15}, ALL),
    Case(
        "the last day, though all events are older or to come",
        {"criteria": "last_n_days", "last_n": 1},
        {"late"},
    ),
    Case("one position", {"from_position": 2, "to_position": 2}, {"spring-before"}),
    Case(
        "up to beyond the head",
        {"from_position": 6, "to_position": 2**62},
        {"late", "out-of-order"},
    ),
    Case("from beyond the head", {"from_position": 10**12}, set()),
    Case(
        "the last event, of a type that is not read",
        {"criteria": "last_n_events", "last_n": 1},
        set(),
    ),
    Case("more events than there are", {"criteria": "last_n_events", "last_n": 10**15}, ALL),
    Case("a predicate that selects everything", {"predicate": "true"}, ALL),
    Case("a field that no event has", {"predicate": "event.data.color == 'red'"}, set()),
    Case(
        "a predicate that narrows dates",
        {"from_date": "2026-03-01T00:00:00Z", "predicate": "event.stream_id.contains('umn')"},
        {"autumn-first", "autumn-second"},
    ),
    Case("registered in Python", {"predicate_name": "is-spring"}, {"spring-before", "spring-jump"}),
    Case(
        "one tenant, some days",
        {"tenant": "spr", "from_date": "2026-03-29T01:00:00Z"},
        {"spring-jump"},
    ),
    Case("until a date, from the beginning", {"to_date": "1900-01-02T00:00:00Z"}, {"early"}),
    Case("until a position, from the beginning", {"to_position": 2}, {"early", "spring-before"}),
    Case(
        "a date without a time: midnight UTC",
        {"from_date": "2026-03-29", "to_date": "2026-10-25"},
        {"spring-before", "spring-jump", "out-of-order"},
    ),
    Case(
        "null stands for left out",
        {"criteria": "from_date", "to_date": None, "from_date": "2026-10-25T01:30:00Z"},
        {"autumn-second", "late"},
    ),
    # In the soak: what another case shows too, by another field or value.
    Case(
        "half past two, the first time",
        {"from_date": "2026-10-25T02:30:00+02:00", "to_date": "2026-10-25T02:30:01+02:00"},
        {"autumn-first"},
    ),
    Case(
        "a zone of half an hour",
        {"from_date": "2026-03-29T06:30:00+05:30", "to_date": "2026-03-29T06:30:00.000001+05:30"},
        {"spring-jump"},
    ),
    Case(
        "before the first event",
        {"from_date": "0001-01-01T00:00:00Z", "to_date": "1900-01-01T00:00:00.000001Z"},
        {"early"},
    ),
    Case("positions from zero", {"from_position": 0, "to_position": 1}, {"early"}),
    Case("the last two events", {"criteria": "last_n_events", "last_n": 2}, {"out-of-order"}),
    Case("a predicate that selects nothing", {"predicate": "false"}, set()),
    Case("one tenant", {"tenant": "aut"}, {"autumn-first", "autumn-second"}),
    Case(
        "a range that is open above",
        {"criteria": "date_range", "from_date": "9999-01-01"},
        {"late"},
    ),
    Case(
        "a predicate by name, and a date",
        {"criteria": "custom_predicate", "predicate": "event.data.n > 10"}
        | {"from_date": "2026-10-25"},
        {"autumn-first", "autumn-second"},
    ),
    Case("a tenant without events", {"tenant": "nobody"}, set()),
]


@pytest.mark.parametrize("case", mostly_soak(*SELECTS, suite=22), ids=lambda case: case.name)
async def test_it_selects(client: Client, logged: Database, case: Case) -> None:
    async with logged.engine.begin() as connection:
        await connection.execute(text("UPDATE counters SET count = -1"))
    before = await rows_of(logged.engine, counters())
    result = await run(client, logged, "Backfill", "counters", **case.asked)
    assert (result.status, result.position) == ("completed", len(TIMES) + 1)
    after = await rows_of(logged.engine, counters())
    healed = {key for key in after if after[key]["count"] == 1}
    assert healed == case.keys
    assert after.keys() == before.keys() == ALL
    if SELECTS.index(case) % 4:
        return
    # Asked only, it says the same, and does nothing.
    plan = (await run(client, logged, "Backfill", "counters", **case.asked, dry_run=True)).plan
    assert plan is not None
    assert plan.selected_keys == len(case.keys)
    assert await rows_of(logged.engine, counters()) == after


REFUSED = [
    (
        {"from_date": "2026-03-01T00:00:00"},
        "from_date: expected RFC 3339: date, time and time zone",
    ),
    ({"from_date": "2026-3-1"}, "from_date: expected RFC 3339"),
    ({"from_date": "2026-02-30"}, "from_date: expected a date that there is"),
    ({"from_date": 1767225600}, "from_date: expected RFC 3339"),
    ({"from_date": "2026-02-30T00:00:00Z"}, "from_date: expected a date that there is"),
    ({"from_date": "9999-12-31T23:59:59-14:00"}, "between the years 1 and 9999"),
    ({"from_date": "yesterday"}, "got 'yesterday'"),
    (
        {"from_date": "2026-03-02T00:00:00Z", "to_date": "2026-03-01T00:00:00Z"},
        "to_date: expected after from_date (2026-03-02T00:00:00+00:00), got 2026-03-01",
    ),
    (
        {"from_date": "2026-03-01T00:00:00+02:00", "to_date": "2026-03-01T00:00:00+03:00"},
        "to_date: expected after from_date",
    ),
    (
        {"from_date": "2026-03-01T00:00:00Z", "to_date": "2026-03-01T00:00:00Z"},
        "to_date: expected after from_date",
    ),
    (
        {"criteria": "from_date", "from_date": "2026-03-01", "to_date": "2026-03-02"},
        "to_date: expected with criteria date_range, got criteria from_date",
    ),
    ({"criteria": "date_range"}, "from_date or to_date is required by date_range"),
    ({"criteria": "event_number_range"}, "from_position or to_position is required"),
    (
        {"criteria": "custom_predicate", "predicate": "true", "from_date": "2026-03-01"}
        | {"to_position": 3},
        "to_position: expected dates or positions, got both",
    ),
    (
        {"criteria": "from_date", "from_date": "2026-03-01", "missing": True},
        "missing: expected with criteria incremental_update, got from_date",
    ),
    ({"criteria": "from_date"}, "from_date: required by criteria from_date"),
    ({"criteria": "last_n_days"}, "last_n: required by criteria last_n_days"),
    (
        {"criteria": "last_n_days", "last_n": 0},
        "last_n: Input should be greater than or equal to 1",
    ),
    ({"criteria": "last_n_events", "last_n": -5}, "last_n: Input should be greater"),
    ({"last_n": 5}, "last_n: expected with criteria last_n_days or last_n_events"),
    (
        {"from_position": 9, "to_position": 8},
        "to_position: expected from_position (9) or more, got 8",
    ),
    ({"from_position": -1}, "from_position: Input should be greater than or equal to 0"),
    ({"from_position": 2**63}, "from_position: Input should be less than"),
    (
        {"criteria": "full_rebuild", "from_position": 5},
        "from_position: expected with criteria event_number_range or from_event_number, got",
    ),
    ({"criteria": "custom_predicate"}, "predicate: required by criteria custom_predicate"),
    (
        {"criteria": "full_rebuild", "predicate": "true"},
        "predicate: expected with criteria that select events",
    ),
    (
        {"predicate": "true", "predicate_name": "is-spring"},
        "predicate_name: expected predicate or predicate_name, got both",
    ),
    ({"predicate": 'event.type == "Added" &&& true'}, "predicate: line 1, column 25"),
    ({"predicate": "event.kind == 'x'"}, "predicate: line 1, column 1"),
    ({"predicate": "event.data.n + 'a' == 'b'"}, "fails for event 1 (Added of stream"),
    ({"predicate_name": "is-winter"}, "predicate_name: expected one of (is-spring)"),
    ({"criteria": "incremental_update", "tenant": "aut"}, "tenant: expected with criteria"),
    (
        {"criteria": "incremental_update", "is_atomic": True},
        "any but incremental_update for an atomic",
    ),
    (
        {"criteria": "from_event_number", "from_position": 1, "as_of": 3, "is_atomic": True},
        "as_of: expected with criteria full_rebuild only",
    ),
    (
        {"criteria": "last_n_days", "last_n": 1, "approval": "manual"},
        "approval: expected with is_atomic only",
    ),
    ({"skip_events": [1]}, "skip_events: expected with criteria dead_letters only"),
]


@pytest.mark.parametrize(("asked", "expected"), REFUSED, ids=lambda value: str(value)[:60])
async def test_it_refuses(
    client: Client, logged: Database, asked: dict[str, Any], expected: str
) -> None:
    before = await rows_of(logged.engine, counters())
    with pytest.raises(WorkflowFailureError) as refused:
        await run(client, logged, "Backfill", "counters", **asked)
    assert isinstance(refused.value.cause, ApplicationError)
    assert expected in refused.value.cause.message
    assert await rows_of(logged.engine, counters()) == before


async def test_without_a_place_for_tenants_there_are_none(
    client: Client, database: Database
) -> None:
    async with working(client, database, Registry([counters()]), tenant_path=None):
        with pytest.raises(WorkflowFailureError) as refused:
            await run(client, database, "Backfill", "counters", tenant="a")
    assert isinstance(refused.value.cause, ApplicationError)
    assert "set REFOLD_TENANT_PATH" in refused.value.cause.message


@pytest.mark.parametrize("atomic", [False, True], ids=["in place", "atomic"])
async def test_a_projection_without_events(
    client: Client, database: Database, atomic: bool
) -> None:
    """Never built, it is built, empty; then there is nothing to select."""
    more = {"is_atomic": True} if atomic else {}
    async with working(client, database, Registry([counters()])):
        for _ in range(2):
            result = await run(client, database, "Backfill", "counters", from_position=0, **more)
            assert (result.status, result.generation) == ("completed", 1)
    assert await assert_oracle(database.engine, counters()) == {}


async def test_events_before_its_beginning_are_in_no_fold(
    client: Client, database: Database
) -> None:
    projection = counters(start_from="2026-03-29T01:00:00Z", partitions=2, batch_size=1)
    async with database.engine.begin() as connection:
        for version, at in enumerate(TIMES.values(), start=1):
            row = {"stream_id": "s", "version": version, "type": "Added", "recorded_at": at}
            await connection.execute(insert(events).values(**row, data={"key": "k", "n": version}))
    async with working(client, database, Registry([projection])):
        for kind in ("Rebuild", "Backfill"):
            await run(client, database, kind, "counters")
            (row,) = (await assert_oracle(database.engine, projection)).values()
            assert row["count"] == 4
        async with database.engine.begin() as connection:
            late = {"stream_id": "s", "version": 9, "type": "Added", "data": {"key": "k", "n": 1}}
            await connection.execute(insert(events).values(**late, recorded_at=TIMES["early"]))
        await run(client, database, "Backfill", "counters", criteria="incremental_update")
        await assert_oracle(database.engine, projection)
