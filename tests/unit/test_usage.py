"""What the command line refuses before it asks a server for anything."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from refold.cli.main import app

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
