"""The options of `backfill` and `rebuild`, and the requests that they make."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import pytest
import typer
from click import unstyle
from typer.testing import CliRunner

from refold.cli.main import app as refold
from refold.cli.options import Fields, with_options
from refold.cli.runs.requests import backfill_request, how, what_to_repair, where_to

runner = CliRunner()
USAGE = 2

app = typer.Typer()


@app.command()
@with_options(what_to_repair, where_to, how)
def ask(name: str, fields: Fields, *, loudly: bool = False) -> None:
    """Prints the request."""
    asked = backfill_request(name, fields).model_dump(mode="json", exclude_none=True)
    typer.echo(orjson.dumps(asked | ({"loudly": True} if loudly else {})))


def requested(*options: str) -> dict[str, Any]:
    ended = runner.invoke(app, ["shop", *options], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    found: dict[str, Any] = orjson.loads(ended.output)
    assert found.pop("projection") == "shop"
    return found


@pytest.mark.parametrize(
    ("options", "fields"),
    [
        ("", {}),
        ("--loudly", {"loudly": True}),
        ("--full", {"criteria": "full_rebuild"}),
        ("--incremental", {"criteria": "incremental_update"}),
        ("--missing", {"criteria": "incremental_update", "missing": True}),
        ("--incremental --missing", {"criteria": "incremental_update", "missing": True}),
        ("--to-date 2026-03-01", {"criteria": "date_range", "to_date": "2026-03-01"}),
        ("--to-position 5", {"criteria": "event_number_range", "to_position": 5}),
        (
            "--full --from-date 2024-01-01 --atomic",
            {"criteria": "full_rebuild", "from_date": "2024-01-01", "is_atomic": True},
        ),
        ("--last-days 2", {"criteria": "last_n_days", "last_n": 2}),
        ("--last-events 90", {"criteria": "last_n_events", "last_n": 90}),
        ("--from-position 0", {"criteria": "from_event_number", "from_position": 0}),
        (
            "--from-position 5 --to-position 9",
            {"criteria": "event_number_range", "from_position": 5, "to_position": 9},
        ),
        (
            "--from-date 2026-03-01T01:00:00+01:00",
            {"criteria": "from_date", "from_date": "2026-03-01T00:00:00Z"},
        ),
        (
            "--from-date 2026-03-01T00:00:00Z --to-date 2026-03-02T00:00:00Z --tenant acme",
            {
                "criteria": "date_range",
                "from_date": "2026-03-01T00:00:00Z",
                "to_date": "2026-03-02T00:00:00Z",
                "tenant": "acme",
            },
        ),
        ("--where true", {"criteria": "custom_predicate", "predicate": "true"}),
        ("--predicate-name big", {"criteria": "custom_predicate", "predicate_name": "big"}),
        (
            "--last-days 1 --where true",
            {"criteria": "last_n_days", "last_n": 1, "predicate": "true"},
        ),
        (
            "--atomic --create-backup --rollback-on-failure",
            {"is_atomic": True, "create_backup": True, "rollback_on_failure": True},
        ),
        (
            "--no-create-backup --no-rollback-on-failure",
            {"create_backup": False, "rollback_on_failure": False},
        ),
        (
            "--batch-size 7 --max-concurrency 2 --events-per-second 0 --target-batch-seconds 0.5",
            {
                "batch_size": 7,
                "max_concurrency": 2,
                "events_per_second": 0.0,
                "target_batch_seconds": 0.5,
            },
        ),
        (
            "--on-poison set_aside --max-dead-letters 0 --requested-by me",
            {"on_poison": "set_aside", "max_dead_letters": 0, "requested_by": "me"},
        ),
        (
            "--approval auto --max-changed-percent 0 --max-removed-rows 3",
            {"approval": "auto", "max_changed_percent": 0.0, "max_removed_rows": 3},
        ),
    ],
)
def test_options_make_a_request(options: str, fields: dict[str, Any]) -> None:
    assert requested(*options.split()) == fields


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--full --incremental", "expected one criterion, got both --full and --incremental"),
        ("--last-days 1 --last-events 2 --full", "got --full, --last-days and --last-events"),
        ("--from-position 1 --last-days 1", "got both --last-days and --from-position"),
        ("--missing --last-days 1", "expected one criterion, got both --missing and --last-days"),
        ("--from-position 5 --to-position 4", "expected from_position (5) or more, got 4"),
        ("--from-date yesterday", "expected RFC 3339"),
        ("--full --where true", "expected with criteria that select events"),
        ("--where true --predicate-name big", "expected predicate or predicate_name, got both"),
        ("--incremental --tenant acme", "tenant: expected with criteria that repair keys"),
        ("--last-days 0", "--last-days"),
        ("--target-batch-seconds 0", "target_batch_seconds"),
        ("--on-poison ignore", "--on-poison"),
    ],
)
def test_what_contradicts_itself_is_a_usage_error(options: str, expected: str) -> None:
    ended = runner.invoke(app, ["shop", *options.split()], catch_exceptions=False)
    assert ended.exit_code == USAGE
    words = " ".join(unstyle(ended.output).replace("│", " ").split())
    assert expected in words


def test_commands_take_the_same_options() -> None:
    shared = {"--where", "--last-days", "--tenant", "--events-per-second", "--on-poison"}
    for command in ("backfill", "rebuild"):
        shown = unstyle(runner.invoke(refold, [command, "--help"]).output)
        assert {option for option in shared if option in shown} == shared, command
        assert ("--atomic" in shown) == (command == "backfill")
        assert "fields" not in shown


def test_two_options_of_one_name_are_refused() -> None:
    def one(*, size: Annotated[int, typer.Option()] = 0) -> Fields:
        return {"size": size}

    with pytest.raises(TypeError, match="different names"):

        @with_options(one)
        def command(fields: Fields, *, size: int = 0) -> None:
            """Has it already."""
