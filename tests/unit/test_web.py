"""The page of `refold web`, as far as it needs no servers: who may ask, and what is shown."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from typer.testing import CliRunner

from refold.cli.main import app
from refold.cli.web.access import Access
from refold.cli.web.command import is_loopback, listening, with_token
from refold.cli.web.shown import offers, shown, shown_mirror
from refold.errors import ConfigurationError
from refold.manager.mirroring.health import MirrorHealth
from refold.messages.mirrors import MirrorStatus
from refold.messages.step_failures import StepFailure
from refold.runtime.settings import Settings, load_settings

PAGE = Path(__file__).parents[2] / "refold/cli/web/page"
TOKEN = "a-token-of-this-test"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

LOOK, STEER = Access(None, control=False), Access(TOKEN, control=True)
GIVEN = {"host": "127.0.0.1:8700", "authorization": f"Bearer {TOKEN}"}
ASKED = {**GIVEN, "content-type": "application/json"}


def status(access: Access, what: str, headers: dict[str, str]) -> int | None:
    refusal = getattr(access, f"to_{what}")(Headers(headers))
    return None if refusal is None else int(refusal.status)


@pytest.mark.parametrize("host", ["127.0.0.1:8700", "localhost", "[::1]:8700", "LOCALHOST:1"])
def test_without_a_token_the_host_is_this_machine(host: str) -> None:
    assert status(LOOK, "page", {"host": host}) is None
    assert status(LOOK, "data", {"host": host}) is None


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "[bad", "10.0.0.1"])
def test_a_name_that_leads_here_by_surprise_is_refused(host: str) -> None:
    assert status(LOOK, "page", {"host": host}) == 403
    assert status(LOOK, "data", {"host": host}) == 403


def test_without_control_there_are_no_event_data_and_no_buttons() -> None:
    assert status(LOOK, "event_data", ASKED) == 403
    assert status(LOOK, "steer", ASKED) == 403
    open_to_all = Access(TOKEN, control=False)
    assert status(open_to_all, "data", GIVEN) is None
    assert status(open_to_all, "event_data", ASKED) == 403
    assert status(open_to_all, "steer", ASKED) == 403


@pytest.mark.parametrize(
    "given",
    [None, "", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"bearer {TOKEN}", "Bearer é"],
)
def test_another_token_is_refused(given: str | None) -> None:
    headers = {**ASKED, "authorization": given or ""}
    if given is None:
        del headers["authorization"]
    for what in ("data", "event_data", "steer"):
        assert status(STEER, what, headers) == 401
    assert status(STEER, "page", headers) is None


def test_with_the_token_all_is_open() -> None:
    for what in ("page", "data", "event_data", "steer"):
        assert status(STEER, what, ASKED) is None
    own = {"origin": "http://127.0.0.1:8700", "sec-fetch-site": "same-origin"}
    assert status(STEER, "steer", {**ASKED, **own}) is None


@pytest.mark.parametrize(
    "other",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8701"},
        {"origin": "http://127.0.0.1:8700", "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_another_site_cannot_steer_even_with_the_token(other: dict[str, str]) -> None:
    assert status(STEER, "steer", {**ASKED, **other}) == 403


def test_a_form_cannot_steer() -> None:
    assert status(STEER, "steer", {**ASKED, "content-type": "text/plain"}) == 415


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        *[("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True)],
        *[("0.0.0.0", False), ("::", False), ("192.168.1.2", False), ("localhost.example", False)],
    ],
)
def test_what_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def standing(**changes: Any) -> dict[str, Any]:
    names = (
        *("state", "since", "next_command", "generation", "generation_version", "position"),
        *("events_behind", "lag_seconds", "rows", "swapped_at", "held_by", "next_schedule"),
        *("run", "live"),
    )
    whole = dict.fromkeys(names) | {
        "projection": "orders",
        "version": 1,
        "versions": [1],
        "head": 7,
        "dead_letters": 0,
        "rollback_to": [],
        "left_behind": [],
        "failing": [],
    }
    return whole | changes


def a_run(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "Rebuild",
        "workflow_id": "rebuild/orders",
        "run_id": "1",
        "phase": None,
        "status": "running",
        "started_at": NOW,
        "ended_at": None,
        "error": None,
        "waiting_for": [],
        "holding": None,
        **changes,
    }


@pytest.mark.parametrize(
    ("row", "offered"),
    [
        (standing(), ["rebuild"]),
        (standing(rollback_to=[3]), ["rebuild", "rollback"]),
        (
            standing(run=a_run(status="completed", ended_at=NOW), rollback_to=[3]),
            ["rebuild", "rollback"],
        ),
        (standing(run=a_run(), rollback_to=[3]), ["pause", "cancel"]),
        (standing(run=a_run(status="paused")), ["resume", "cancel"]),
        (standing(run=a_run(status="pausing")), ["resume", "cancel"]),
        (standing(run=a_run(status="awaiting_approval")), ["approve", "reject"]),
        (standing(run=a_run(status="cancelling")), []),
    ],
)
def test_what_is_offered_is_what_can_be_asked_for(row: dict[str, Any], offered: list[str]) -> None:
    assert list(offers(row)) == offered
    assert shown(row, None, control=True)["offers"] == offered
    assert shown(row, None, control=False)["offers"] == []


def test_without_control_no_word_of_peoples_code_is_told() -> None:
    failing = StepFailure(
        step="refolding", type="ValueError", message="secret", since=NOW, attempts=2, last_at=NOW
    )
    reason = "it is live: refolding fails: secret"
    live = {"status": "live", "error": "secret", "reason": reason, "waiting_for": ["lock of 7"]}
    ended = a_run(status="failed", error="secret", ended_at=NOW)
    row = standing(run=ended, live=live, failing=[failing])
    assert str(shown(row, None, control=True)).count("secret") == 3
    read_only = shown(row, None, control=False)
    assert "secret" not in str(read_only)
    assert read_only["waiting_for"] == ["lock of 7"]
    assert [line.partition(":")[0] for line in read_only["trouble"]] == [
        "Rebuild failed",
        "refolding fails and is tried again (2 times since 2026-01-01 00",
        "live",
    ]


def test_the_page_makes_no_markup_of_text_and_asks_nobody_else() -> None:
    files = {path.name: path.read_text() for path in PAGE.iterdir()}
    assert {"index.html", "main.js", "style.css"} <= set(files)
    for name, text in files.items():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )
        addresses = set(re.findall(r"https?://[^\s\"']+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, name
        # The page's policy forbids both.
        assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", text), name


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "refold.cli.web.serving", None)
    failed = CliRunner().invoke(app, ["web"])
    assert failed.exit_code == 1
    assert "pip install 'refold[web]'" in failed.output


def test_a_token_is_long_enough_to_be_none_that_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_WEB_TOKEN", "too short to be one")
    with pytest.raises(ConfigurationError, match="REFOLD_WEB_TOKEN") as refused:
        load_settings()
    assert "too short" not in str(refused.value)
    monkeypatch.setenv("REFOLD_WEB_TOKEN", "")
    assert load_settings().web_token is None


def test_a_mirror_and_what_was_left_behind_are_told() -> None:
    mirror = MirrorHealth(
        mirror="feed",
        source="shop:feed",
        status=MirrorStatus.FAILED,
        is_healthy=False,
        reason="secret",
        events=3,
        seen_at=NOW,
    )
    assert shown_mirror(mirror, control=True)["reason"] == "secret"
    assert "secret" not in str(shown_mirror(mirror, control=False))
    left = {"item": "generation 3", "since": NOW, "reason": "a view depends on it"}
    (said,) = shown(standing(left_behind=[left]), None, control=False)["trouble"]
    assert said == "generation 3, since 2026-01-01 00:00:00: a view depends on it"


def test_a_chosen_token_is_not_printed() -> None:
    assert with_token(None, Settings()) == ""
    assert with_token(TOKEN, Settings()) == f"#token={TOKEN}"
    assert TOKEN not in with_token(TOKEN, Settings(web_token=TOKEN))


def test_a_port_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"--port {port}: expected .* a free port"):
            listening("127.0.0.1", port)
