"""What system events carry: the options of a run, how far it is, its dates and result, its error.

Handlers get them as classes; the record has the same as JSON.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from refold import (
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionBackfillProgress,
    ProjectionBackfillStarted,
    SystemEvent,
)
from refold.messages.recorded_event import RecordedEvent
from refold.system_events import as_event
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.events import some
from tests.support.live import recorded
from tests.support.runs import run, working, write


async def told(database: Database, *kinds: type[SystemEvent]) -> list[Any]:
    """The recorded events of these classes, in order."""
    by_name = {kind.__name__: kind for kind in kinds}
    return [
        as_event(one, by_name[one.type]) for one in await recorded(database) if one.type in by_name
    ]


@pytest.mark.usefixtures("counters_built")
async def test_a_run_tells_its_options_and_how_far_it_is(
    client: Client, database: Database
) -> None:
    projection = counters(create_backup=True, partitions=2)
    async with working(client, database, registry_of(projection)):
        result = await run(
            client,
            database,
            "Backfill",
            "counters",
            from_date="2026-01-01",
            to_date="2026-02-01T00:00:00Z",
            batch_size=10,
            events_per_second=100,
            requested_by="ann",
        )
    *_, started = await told(database, ProjectionBackfillStarted)
    options = started.options
    assert (options.criteria, options.is_atomic, options.batch_size) == ("date_range", False, 10)
    assert options.from_date == datetime(2026, 1, 1, tzinfo=UTC)
    assert options.to_date == datetime(2026, 2, 1, tzinfo=UTC)
    # What the projection declares is in force, so it is told.
    assert (options.create_backup, options.rollback_on_failure) == (True, False)
    assert (options.approval, options.requested_by, options.last_n) == (None, "ann", None)

    of_run = [
        one
        for one in await told(database, ProjectionBackfillProgress)
        if one.run_id == result.run_id
    ]
    assert len(of_run) >= 1
    for one in of_run:
        assert one.percent_complete == pytest.approx(
            min(99.9, 100 * one.events_processed / one.total_events), abs=0.1
        )
        assert one.phase in ("refolding", "following")
    going = [one for one in of_run if 0 < one.events_processed < one.total_events]
    for one in going:
        left = (one.total_events - one.events_processed) / one.events_per_second
        assert one.estimated_seconds_remaining == pytest.approx(left, rel=0.1, abs=0.2)

    *_, completed = await told(database, ProjectionBackfillCompleted)
    assert completed.result == result.model_copy(update={"generation": 1})
    assert (completed.from_date, completed.to_date) == (options.from_date, options.to_date)


@pytest.mark.usefixtures("counters_built")
async def test_a_snapshot_and_a_rollback_tell_theirs(client: Client, database: Database) -> None:
    async with working(client, database, registry_of(counters())):
        snapshot = await run(client, database, "Snapshot", "counters", requested_by="ann")
        back = await run(client, database, "Rollback", "counters", to_generation=2)
    _, started, restoring = await told(database, ProjectionBackfillStarted)
    assert started.options.model_dump() == {"requested_by": "ann"}
    assert restoring.options.model_dump() == {"to_generation": 2}
    _, made, restored = await told(database, ProjectionBackfillCompleted)
    assert (made.result, restored.result) == (snapshot, back)
    assert made.result.is_snapshot


async def test_a_busy_projection_is_a_transient_failure(client: Client, database: Database) -> None:
    """Once the other run has ended, the same request works."""
    await write(database.engine, some())
    async with working(client, database, registry_of(counters())):
        async with database.engine.begin() as connection:
            await connection.execute(
                text(
                    "INSERT INTO refold.leases (projection, run_id, workflow_id, namespace, "
                    "installation, acquired_at, renewed_at) VALUES ('counters', 'x', 'theirs', "
                    "'elsewhere', 'y', now(), now())"
                )
            )
        with pytest.raises(WorkflowFailureError):
            await run(client, database, "Backfill", "counters", correlation_id="c")
    (failed,) = await told(database, ProjectionBackfillFailed)
    assert (failed.error_type, failed.code, failed.is_transient) == (
        "ProjectionBusy",
        "RF202",
        True,
    )


def test_events_of_an_older_version_are_read() -> None:
    """They lack what is new."""

    def older(kind: str, **data: Any) -> RecordedEvent:
        about = {"projection": "p", "number": 1, "recorded_at": datetime.now(UTC)}
        return RecordedEvent(type=kind, data={"run_id": "r", "kind": "Backfill", **data}, **about)

    failed = as_event(older("f", status="failed", error="no"), ProjectionBackfillFailed)
    assert (failed.error_type, failed.code, failed.is_transient) == ("", "RF900", False)
    done = as_event(older("c", status="completed"), ProjectionBackfillCompleted)
    assert done.result is None
    started = as_event(older("s", generation=1, total_events=1), ProjectionBackfillStarted)
    assert started.options.criteria is None
    ahead = older("s", generation=1, total_events=1, options={"criteria": "from_date", "new": 1})
    assert as_event(ahead, ProjectionBackfillStarted).options.criteria == "from_date"
