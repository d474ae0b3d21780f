"""Which replaced generations need not be kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from refold.engine.lifecycle.retention import expired
from refold.projection.backfill_policy import BackfillPolicy
from refold.store.generations import RETAINED, Generation

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def replaced(number: int, days_ago: float) -> Generation:
    return Generation(
        projection="p",
        generation=number,
        version=1,
        status=RETAINED,
        schema_name=f"refold_p_g{number}",
        table_name="p",
        position=1,
        rows=1,
        built_with=None,
        run_id=None,
        created_at=NOW - timedelta(days=30),
        swapped_at=NOW - timedelta(days=days_ago),
    )


LATEST_FIRST = [replaced(3, 1), replaced(5, 2), replaced(1, 8)]


@pytest.mark.parametrize(
    ("policy", "also", "dropped"),
    [
        ({}, (), [5, 1]),
        ({"retained_generations": 0}, (), [3, 5, 1]),
        ({"retained_generations": 3}, (), []),
        ({"retained_generations": 3, "retained_days": 8}, (), []),
        ({"retained_generations": 3, "retained_days": 7.9}, (), [1]),
        ({"retained_days": 0.5}, (), [3, 5, 1]),
        ({}, (3,), [3, 1]),
        ({"retained_generations": 2}, (3,), [3]),
    ],
)
def test_the_latest_are_kept_for_their_time(
    policy: dict[str, float], also: tuple[int, ...], dropped: list[int]
) -> None:
    settings = BackfillPolicy.model_validate(policy)
    found = expired(LATEST_FIRST, settings, NOW, also)
    assert [generation.generation for generation in found] == dropped
