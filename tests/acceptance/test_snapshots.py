"""Snapshots and checkpoints on `refold dev`, by `refold` and by Temporal's own command line."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.stack import DevStack

DONE, FAILED, USAGE = 0, 1, 2

NAME = "customer-summary"


def test_snapshot_reset_and_restore(dev: DevStack, shop_events: int) -> None:
    assert dev.refold("rebuild", NAME, "--json").status == DONE
    made = dev.refold("snapshots", "create", NAME, "--requested-by", "a test", "--json")
    assert made.status == DONE, made.err
    snapshot = made.json()
    assert (snapshot["status"], snapshot["position"]) == ("completed", shop_events)
    (listed,) = dev.refold("snapshots", "list", NAME, "--json").json()
    assert listed["generation"] == snapshot["generation"]
    assert (listed["version"], listed["position"]) == (1, shop_events)
    assert listed["rows"] > 0

    assert dev.refold("checkpoint", "show", NAME, "--json").json()["position"] == shop_events
    reset = dev.refold("checkpoint", "reset", NAME, "--position", "2500")
    assert reset.status == DONE, reset.err
    assert "is live at position 2,500" in reset.out
    assert "2,500" in dev.refold("checkpoint", "show", NAME).out
    too_far = dev.refold("checkpoint", "reset", NAME, "--position", "2501")
    assert too_far.status == FAILED
    assert too_far.err.startswith("refold: as_of: expected at most the checkpoint")

    restored = dev.refold("snapshots", "restore", NAME, "--json")
    assert restored.status == DONE, restored.err
    assert restored.json()["status"] == "rolled_back"
    assert restored.json()["position"] == shop_events
    assert str(snapshot["generation"]) in dev.refold("snapshots", "list", NAME).out
    printed = dev.refold("snapshots", "rows", NAME, "--position", str(shop_events))
    assert printed.status == DONE, printed.err
    assert len(printed.out.splitlines()) == listed["rows"]
    again = dev.refold("snapshots", "restore", NAME, "--position", str(shop_events), "--json")
    assert again.status == DONE, again.err
    assert again.json()["generation"] == restored.json()["generation"] + 1
    number = ("--generation", str(snapshot["generation"]))
    dropped = dev.refold("snapshots", "drop", NAME, *number, "--json")
    assert dropped.status == DONE, dropped.err
    assert dev.refold("snapshots", "list", NAME, "--json").json() == []
    gone = dev.refold("snapshots", "restore", NAME, *number)
    assert gone.status == FAILED
    assert "there are (none)" in gone.err


def test_snapshot_by_temporals_command_line(dev: DevStack, shop_events: int) -> None:
    assert dev.refold("rebuild", "product-sales", "--json").status == DONE
    workflow_id = "snapshot/product-sales"
    started = dev.start("Snapshot", workflow_id, json.dumps({"projection": "product-sales"}))
    assert started.status == DONE, started.err
    ended = dev.result(workflow_id)
    assert ended.status == DONE, ended.err
    result = ended.json()["result"]
    assert (result["status"], result["is_snapshot"]) == ("completed", True)
    assert dev.query(workflow_id, "progress")["percent_complete"] == 100
    watched = dev.refold("watch", "product-sales")
    assert watched.status == DONE, watched.err
    assert f"the snapshot is generation {result['generation']}" in watched.out
    number = str(result["generation"])
    assert dev.refold("snapshots", "drop", "product-sales", "--generation", number).status == DONE


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["snapshots", "create", "nope"], FAILED, "expected one of"),
        (["snapshots", "restore", "order-summary", "--position", "9"], FAILED, "got 9"),
        (["snapshots", "drop", "order-summary", "--generation", "9999"], FAILED, "got 9999"),
        (["checkpoint", "reset", "nope", "--position", "1"], FAILED, "expected one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_done_is_told(
    dev: DevStack, arguments: list[str], status: int, expected: str
) -> None:
    ended = dev.refold(*arguments)
    assert ended.status == status, ended.err
    assert expected in ended.err
    assert "Traceback" not in ended.err
