"""A live read model on `refold dev`, steered with Temporal's own command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tests.acceptance.stack import DevStack

WORKFLOW = "projection/customer-summary"


def wait_for(found: Callable[[], Any], seconds: float = 60) -> Any:
    """Waits until something is found."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline
        time.sleep(0.4)  # to ask takes a process
    return value


def events_of(dev: DevStack, correlation_id: str) -> list[str]:
    logged = dev.refold("log", "customer-summary", "--json")
    assert logged.status == 0, logged.err
    return [e["type"] for e in logged.json() if e["correlation_id"] == correlation_id]


def test_a_backfill_is_asked_for_by_signal(dev: DevStack, shop_events: int) -> None:
    request = json.dumps({"projection": "customer-summary"})
    assert dev.start("Projection", WORKFLOW, request).status == 0
    asked = dev.temporal(
        *("workflow", "signal", "-w", WORKFLOW, "--name", "ProjectionBackfillRequested"),
        *("--input", '{"is_atomic": true, "correlation_id": "ticket-17"}'),
    )
    assert asked.status == 0, asked.err
    wait_for(lambda: "ProjectionBackfillCompleted" in events_of(dev, "ticket-17"))
    told = events_of(dev, "ticket-17")
    assert told[:2] == ["ProjectionBackfillRequested", "ProjectionBackfillStarted"]
    assert "ProjectionBackfillFailed" not in told

    def known() -> bool:
        answer = dev.query(WORKFLOW, "system_events")
        of_request = [e["type"] for e in answer if e["correlation_id"] == "ticket-17"]
        return "ProjectionBackfillCompleted" in of_request

    wait_for(known)
    shown = dev.refold("log", "customer-summary")
    assert shown.status == 0
    assert "ticket-17" in shown.out


def test_its_health_is_told_for_people_and_probes(dev: DevStack, shop_events: int) -> None:
    def told() -> dict[str, Any]:
        health: dict[str, Any] = dev.refold("health", "customer-summary", "--json").json()[0]
        return health

    # After a swap it catches up, as far as anybody knows, until it reports.
    wait_for(lambda: told()["status"] == "live")
    assert dev.refold("health", "customer-summary").status == 0
    health = told()
    assert health["is_healthy"]
    assert (health["standing"]["lag_events"], health["standing"]["held_by"]) == (0, None)
    stopped = dev.temporal("workflow", "signal", "-w", WORKFLOW, "--name", "stop")
    assert stopped.status == 0, stopped.err
    wait_for(lambda: dev.refold("health", "customer-summary").status == 1)
    shown = dev.refold("health", "customer-summary")
    assert "it is stopped" in shown.out
    assert dev.refold("start", "customer-summary").status == 0
    wait_for(lambda: dev.refold("health", "customer-summary").status == 0)


def test_what_cannot_be_asked_for_is_told(dev: DevStack, shop_events: int) -> None:
    asked = dev.temporal(
        *("workflow", "signal", "-w", WORKFLOW, "--name", "ProjectionBackfillRequested"),
        *("--input", '{"criteria": "everything", "correlation_id": "ticket-18"}'),
    )
    assert asked.status == 0, asked.err
    wait_for(lambda: events_of(dev, "ticket-18") == ["ProjectionBackfillFailed"])
    ended = dev.temporal("workflow", "terminate", "-w", WORKFLOW)
    assert ended.status == 0, ended.err
