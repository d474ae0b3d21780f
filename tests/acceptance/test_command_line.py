"""The command line `refold` on `refold dev`: what it prints, and its exit statuses."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.stack import DevStack
from tests.support.commands import forked
from tests.support.forked import ForkedProcess, refold
from tests.support.processes import ROOT, clean_environment

DONE, FAILED, USAGE, CANCELLED, INTERRUPTED = 0, 1, 2, 3, 130


@dataclass(frozen=True)
class Going:
    """A command that may go on, and the files with what it has printed."""

    process: ForkedProcess
    files: tuple[Path, Path]

    @property
    def out(self) -> str:
        return self.files[0].read_text()

    @property
    def err(self) -> str:
        return self.files[1].read_text()


@contextmanager
def going(dev: DevStack, directory: Path, *arguments: str) -> Iterator[Going]:
    """Starts a command of the operator's; it is killed if it still goes on then."""
    files = directory / f"{arguments[0]}.out", directory / f"{arguments[0]}.err"
    for file in files:
        file.touch()
    environment = clean_environment(**dev.variables)
    process = ForkedProcess(
        refold, arguments, directory=ROOT, environment=environment, output=files
    )
    try:
        yield Going(process, files)
    finally:
        process.send(signal.SIGKILL)


def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)  # to ask takes a process


def status_of(dev: DevStack, projection: str) -> dict[str, Any]:
    """What `refold status` says of a read model."""
    (status,) = dev.refold("status", projection, "--json").json()
    found: dict[str, Any] = status
    return found


def test_projections_are_listed(dev: DevStack) -> None:
    listed = dev.installed("projections", "--json")
    assert listed.status == DONE
    found = {item["projection"]: item for item in listed.json()}
    assert set(found) == {"order-summary", "customer-summary", "product-sales"}
    assert found["product-sales"]["key"] == "data.sku"
    assert found["product-sales"]["event_types"] == ["ItemAdded", "ItemReturned"]
    assert found["product-sales"]["settings"]["backfill.batch_size"]["from"] == "built in"
    shown = dev.refold("projections", "--settings")
    assert shown.status == DONE
    assert "order-summary: backfill.batch_size 1000 (built in)" in shown.out


def test_rebuild_backfill_and_status(dev: DevStack, shop_events: int) -> None:
    rebuilt = dev.refold("rebuild", "order-summary", "--requested-by", "a test", "--json")
    assert rebuilt.status == DONE, rebuilt.err
    result = rebuilt.json()
    assert (result["status"], result["position"]) == ("completed", shop_events)
    for option in ("--full", "--incremental", "--atomic"):
        backfilled = dev.refold("backfill", "order-summary", option, "--json")
        assert backfilled.status == DONE, backfilled.err
        generation = backfilled.json()["generation"]
        assert generation == result["generation"] + (option == "--atomic")
    status = status_of(dev, "order-summary")
    assert (status["position"], status["events_behind"]) == (shop_events, 0)
    assert status["generation"] == generation
    assert status["held_by"] is None
    assert (status["state"], status["next_command"]) == (
        "not followed",
        "refold start order-summary",
    )
    assert (status["versions"], status["rollback_to"]) == ([1], [generation - 1])
    assert status["rows"] is not None
    assert (status["run"]["kind"], status["run"]["status"]) == ("Backfill", "completed")
    shown = dev.refold("status")
    assert shown.status == DONE
    assert "product-sales" in shown.out
    assert "refold start order-summary" in shown.out
    one = dev.refold("status", "order-summary")
    assert f"rollback to    {generation - 1}" in one.out


@pytest.mark.soak
def test_a_criterion_of_each_kind_by_its_options(dev: DevStack, shop_events: int) -> None:
    assert dev.refold("rebuild", "order-summary", "--json").status == DONE
    for options in (
        ("--from-date", "2010-12-01T00:00:00Z", "--to-date", "2010-12-03T00:00:00Z"),
        ("--last-days", "1"),
        ("--last-events", "50", "--where", 'event.type == "OrderPlaced"'),
        ("--from-position", "1", "--to-position", "90", "--events-per-second", "100000"),
    ):
        backfilled = dev.refold("backfill", "order-summary", *options, "--json")
        assert backfilled.status == DONE, backfilled.err
        assert backfilled.json()["status"] == "completed"
    wrong = dev.refold("backfill", "order-summary", "--where", "event.type ==")
    assert wrong.status == FAILED
    assert "predicate" in wrong.err


def test_watch_of_a_run_that_has_ended(dev: DevStack, shop_events: int) -> None:
    assert dev.refold("rebuild", "order-summary", "--detach", "--json").status == DONE
    watched = dev.refold("watch", "order-summary", "--json")
    assert watched.status == DONE, watched.err
    assert watched.json()["status"] == "completed"
    again = dev.refold("watch", "order-summary")
    assert again.status == DONE, again.err


def test_cancelled_run_ends_with_status_3(dev: DevStack, shop_events: int, tmp_path: Path) -> None:
    # Slowly, and with little work: it is to be there until it is cancelled.
    slowly = ("--batch-size", "1", "--events-per-second", "5")
    with going(dev, tmp_path, "rebuild", "product-sales", "--json", *slowly) as rebuild:
        until(lambda: status_of(dev, "product-sales")["held_by"])
        second = dev.refold("rebuild", "product-sales")
        assert second.status == FAILED
        assert "rebuild/product-sales" in second.err
        other = dev.refold("backfill", "product-sales")
        assert other.status == FAILED
        assert "rebuild/product-sales" in other.err
        with going(dev, tmp_path, "watch", "product-sales") as watch:
            until(lambda: "rebuild/product-sales" in watch.out)
            watch.process.send(signal.SIGINT)
            assert watch.process.wait(30) == INTERRUPTED
        goes_on = "rebuild/product-sales goes on: `refold watch product-sales` follows it"
        assert goes_on in watch.err
        asked = dev.refold("cancel", "product-sales", "--reason", "too slow", "--json")
        assert asked.status == DONE, asked.err
        assert asked.json()["workflow_id"] == "rebuild/product-sales"
        assert rebuild.process.wait(30) == CANCELLED, rebuild.err
    result = json.loads(rebuild.out)
    assert (result["status"], result["reason"]) == ("cancelled", "too slow")
    status = status_of(dev, "product-sales")
    assert (status["held_by"], status["run"]["status"]) == (None, "cancelled")


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["rebuild", "nope"], FAILED, "expected one of"),
        (["status", "nope"], FAILED, "expected one of"),
        (["watch", "nope"], FAILED, "nope"),
        (["cancel", "nope"], FAILED, "nope"),
        (["events", "import", "no-such-file.ndjson"], FAILED, "no-such-file.ndjson"),
        (["rebuild"], USAGE, "Missing argument"),
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
    if status == FAILED:
        assert ended.err.startswith("refold: ")
        assert len(ended.err.splitlines()) == 1


def test_servers_that_are_not_there_are_told_in_one_line() -> None:
    variables = {
        "REFOLD_DATABASE_URL": "postgresql://me@127.0.0.1:1/shop",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
    }
    for arguments, variable in (
        (("status",), "REFOLD_DATABASE_URL"),
        (("events", "count"), "REFOLD_DATABASE_URL"),
        (("rebuild", "order-summary"), "TEMPORAL_ADDRESS"),
    ):
        ended = forked(*arguments, variables=variables)
        assert ended.status == FAILED
        assert variable in ended.err
        assert len(ended.err.splitlines()) == 1, ended.err


def test_status_says_that_a_run_awaits_approval(dev: DevStack, shop_events: int) -> None:
    held = ("rebuild", "customer-summary", "--approval", "manual", "--detach", "--json")
    assert dev.refold(*held).status == DONE

    def shown() -> dict[str, Any]:
        run: dict[str, Any] = status_of(dev, "customer-summary")["run"]
        return run

    until(lambda: shown()["status"] == "awaiting_approval")
    run = shown()
    assert run["phase"] == "awaiting approval"
    assert run["waiting_for"] == ["approval: manual"]
    told = dev.refold("status").out
    assert "Rebuild awaiting_approval: approval: manual" in told
    assert "`refold approve customer-summary` or `refold reject customer-summary`" in told
    assert dev.refold("reject", "customer-summary").status == DONE
    assert dev.refold("watch", "customer-summary").status == CANCELLED
    assert shown()["status"] == "cancelled"
