"""What notifications say, and what a webhook that does not take them is told to be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from refold import (
    ProjectionApprovalAwaited,
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionDeadLettered,
    ProjectionFailed,
    SystemEvent,
)
from refold.errors import ConfigurationError
from refold.runtime.settings import load_settings
from refold.worker.webhook import said_of, webhook
from tests.support.ports import free_port
from tests.support.posted import listening

RUN: dict[str, Any] = {"projection": "orders", "run_id": "r", "kind": "Rebuild"}
FAILED = ProjectionFailed(projection="orders", error_type="X", code="RF900", message="no disk")


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (
            ProjectionApprovalAwaited(**RUN, generation=2, reasons=["10 % of the rows change"]),
            "Rebuild awaits approval (10 % of the rows change): `refold diff orders`, then "
            "`refold approve orders` or `refold reject orders`",
        ),
        (
            ProjectionBackfillCompleted(
                **RUN, status="completed", generation=2, events_processed=1234
            ),
            "Rebuild completed: 1,234 events, generation 2 is live",
        ),
        (
            ProjectionBackfillFailed(**RUN, status="failed", error="a < b & c > d", code="RF301"),
            "Rebuild failed (RF301): a &lt; b &amp; c &gt; d",
        ),
        (
            FAILED,
            "does not follow any more (RF900): no disk; `refold restart orders` once it is mended",
        ),
        (
            FAILED.model_copy(update={"next_attempt_at": datetime(2026, 1, 1, 12, tzinfo=UTC)}),
            "does not follow any more (RF900): no disk; it is tried again at "
            "2026-01-01 12:00:00 UTC",
        ),
        (
            ProjectionDeadLettered(
                projection="orders",
                generation=2,
                dead_letters=3,
                position=17,
                event_type="Paid",
                error="no price",
            ),
            "3 events are set aside, the latest at position 17 (Paid): no price: "
            "`refold dead-letters list orders`",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, SystemEvent) else "",
)
def test_each_notification_says_what_is_the_matter_and_what_to_do(
    event: SystemEvent, said: str
) -> None:
    assert said_of(event) == f"*orders*: {said}"
    assert type(event) in webhook("http://localhost").events


class _Context:
    id = "orders/1"


def _tell(url: str) -> None:
    webhook(url).handle(FAILED, _Context())  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [301, 302, 400, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_a_failure_without_the_secret(status: int) -> None:
    with listening() as server:
        server.answers.append(status)
        with pytest.raises(ApplicationError) as failed:
            _tell(f"{server.url}/services/s3cret")
        # A redirected post would have become a get, and counted as delivered.
        assert len(server.posts) == 1
    assert f"at 127.0.0.1: expected an answer of 200 to 299, got {status}" in str(failed.value)
    assert "s3cret" not in repr(failed.value)
    assert not failed.value.non_retryable


def test_no_answer_is_a_failure_too() -> None:
    with pytest.raises(ApplicationError, match="got no answer") as failed:
        _tell(f"http://127.0.0.1:{free_port()}/s3cret")
    assert "s3cret" not in repr(failed.value)


@pytest.mark.parametrize("address", ["hooks.example/s3cret", "ftp://h/s3cret", "https:///s3cret"])
def test_what_is_no_address_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("REFOLD_WEBHOOK_URL", address)
    with pytest.raises(ConfigurationError, match=r"REFOLD_WEBHOOK_URL: .*expected") as refused:
        load_settings()
    assert "s3cret" not in str(refused.value)


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_WEBHOOK_URL", "")
    assert load_settings().webhook_url is None
    assert "webhook" not in repr(load_settings())
