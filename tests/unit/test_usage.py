"""What the command line refuses before it asks a server for anything."""

from __future__ import annotations

import json
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from refold.cli.main import app
from refold.cli.options import known_names
from refold.errors import InvalidRequest
from refold.predicates import parse_predicate

FAILED, USAGE = 1, 2
ORDERS = "order-summary"
ADD = ("schedule", "add", ORDERS)
NIGHTLY = ("--cron", "0 3 * * *")


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (("reticulate",), USAGE, "reticulate"),
        (("rebuild",), USAGE, "Missing argument"),
        (("rebuild", ORDERS, "--batch-size", "0"), USAGE, "--batch-size"),
        (("rebuild", ORDERS, "--no-such-option"), USAGE, "--no-such-option"),
        (("backfill", ORDERS, "--full", "--incremental"), USAGE, "got both"),
        (("snapshots", "drop", ORDERS), USAGE, "--generation"),
        (("snapshots", "list", "nope"), FAILED, "expected one of"),
        (("snapshots", "restore", "nope"), FAILED, "expected one of"),
        (("checkpoint", "show", "nope"), FAILED, "expected one of"),
        (("checkpoint", "reset", ORDERS), USAGE, "--position"),
        (("checkpoint", "reset", ORDERS, "--position", "-1"), USAGE, "--position"),
        (ADD, USAGE, "--cron"),
        ((*ADD, *NIGHTLY, "--full", "--last-days", "1"), USAGE, "got both"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_it_is_refused_in_words(arguments: tuple[str, ...], status: int, expected: str) -> None:
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code == status, ended.output
    assert expected in ended.output
    assert isinstance(ended.exception, SystemExit)
    if status == FAILED:
        assert ended.output.startswith("refold: ")


def test_a_failure_is_json_where_json_was_asked_for() -> None:
    ended = CliRunner().invoke(app, ("fold", "order-sumary", "--from", "x", "--json"))
    assert ended.exit_code == FAILED
    error = json.loads(ended.stdout)["error"]
    assert (error["type"], error["code"]) == ("UnknownProjection", "RF105")
    assert error["message"].endswith("; did you mean 'order-summary'?")
    assert ended.stderr == f"refold: {error['message']}\n"
    plain = CliRunner().invoke(app, ("fold", "order-sumary", "--from", "x"))
    assert (plain.exit_code, plain.stdout) == (FAILED, "")


def test_the_help_is_short_whole_and_under_both_names() -> None:
    asked = CliRunner().invoke(app, ("-h",))
    assert asked.output == CliRunner().invoke(app, ("--help",)).output
    commands = asked.output.partition("Commands:\n")[2]
    assert commands
    for group in ("", "events", "snapshots", "checkpoint", "schedule", "dead-letters"):
        shown = CliRunner().invoke(app, (*group.split(), "-h"))
        assert shown.exit_code == 0
        assert "..." not in shown.output.partition("Commands:\n")[2], group


def test_it_says_its_version() -> None:
    told = CliRunner().invoke(app, ("--version",))
    assert told.output == f"refold {version('refold')}\n"


def test_the_shell_completes_names_of_projections() -> None:
    assert known_names("order") == ["order-summary"]
    assert len(known_names("")) == 3


@pytest.mark.parametrize(
    ("expression", "meant"),
    [
        ("event.tpe == 'A'", "no field of an event; did you mean 'type'?"),
        ("evnt.type == 'A'", "did you mean 'event'?"),
        ("event.type.startWith('A')", "did you mean 'startsWith'?"),
    ],
)
def test_a_predicate_with_a_slip_is_told_what_was_meant(expression: str, meant: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_predicate(expression)
    assert meant in str(refused.value)
