"""How long a run may take, by the latest: only what was work counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from refold.store import runs
from refold.store.schema import runs as table
from tests.support.databases import Database

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def run(**fields: Any) -> dict[str, Any]:
    """A run of 100,000 events that took ten seconds."""
    pacing = fields.pop("pacing", {"events_per_second": None, "throttle": None})
    return {
        "run_id": "a",
        "projection": "counters",
        "kind": "Rebuild",
        "workflow_id": "a",
        "status": "completed",
        "request": {},
        "plan": {"total_events": 100_000, "pacing": pacing},
        "diff": None,
        "controls": None,
        "started_at": BEGAN,
        "ended_at": at(10),
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "rate"),
    [
        ({}, 10_000),
        # Verified after eight seconds; a person approved it an hour later.
        ({"diff": {"compared_at": at(8).isoformat()}, "ended_at": at(3600)}, 12_500),
        ({"controls": {"revision": 2, "paused": False}}, None),
        ({"controls": {"revision": 0, "paused": False}}, 10_000),
        ({"pacing": {"events_per_second": 100}}, None),
        ({"pacing": {"events_per_second": 0}}, 10_000),
        ({"pacing": {"throttle": {"hold_while": "true"}}}, None),
        ({"pacing": {}}, 10_000),
        ({"status": "failed"}, None),
        ({"projection": "another"}, None),
        ({"ended_at": at(0.5)}, None),
    ],
)
async def test_the_rate_of_the_latest_run(
    database: Database, fields: dict[str, Any], rate: float | None
) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(insert(table).values(run(**fields)))
        assert await runs.latest_rate(connection, "counters") == rate
