"""The progress of a run on `refold dev`, asked for with Temporal's own command line."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from tests.acceptance.stack import DevStack


def test_progress_never_goes_back_and_stays_fresh(dev: DevStack, shop_events: int) -> None:
    workflow_id = "watched"
    # For some seconds, however fast it could go.
    request = {
        "projection": "product-sales",
        "batch_size": 20,
        "max_concurrency": 2,
        "events_per_second": 1000,
    }
    assert dev.start("Rebuild", workflow_id, json.dumps(request)).status == 0
    seen = 0.0
    events = moves = 0
    ages = []
    while True:
        progress = dev.query(workflow_id, "progress")
        now = datetime.now(UTC)
        assert seen <= progress["percent_complete"] <= 100
        assert events <= progress["events_processed"] <= progress["total_events"]
        moves += progress["percent_complete"] > seen
        seen, events = progress["percent_complete"], progress["events_processed"]
        if progress["status"] not in ("pending", "running"):
            break
        assert seen < 100
        if progress["phase"] == "refolding" and progress["updated_at"]:
            ages.append((now - datetime.fromisoformat(progress["updated_at"])).total_seconds())
        time.sleep(0.2)  # to ask takes a process
    assert (progress["status"], seen) == ("completed", 100)
    print(f"watched: {moves} moves, oldest figures {max(ages):.1f} s")
    assert moves >= 3
    assert max(ages) < 6
