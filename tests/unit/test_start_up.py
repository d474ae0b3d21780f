"""What a command imports before it does anything: the command line starts without the rest."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import refold
from refold.cli.commands import COMMANDS, Later
from refold.cli.main import app

_HEAVY = ("temporalio", "sqlalchemy", "pydantic", "opentelemetry", "rich", "asyncpg", "alembic")
_TOLD = "imported:"
_RUN = f"""
import sys
from refold.runtime import leaving
def told(status):
    found = [name for name in {_HEAVY!r} if name in sys.modules]
    sys.stderr.write(" ".join(["{_TOLD}", *found]))
    sys.stdout.flush(), sys.stderr.flush()
    raise SystemExit(status)
leaving.leave = told
from refold.cli.main import main
sys.argv[0] = "refold"
main()
"""


def _imported(*arguments: str, **environment: str) -> tuple[str, set[str]]:
    """What a command prints, and what of the heavy packages it has imported at its end."""
    ended = subprocess.run(
        [sys.executable, "-c", _RUN, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        timeout=60,
    )
    _, _, imported = ended.stderr.rpartition(_TOLD)
    assert _TOLD in ended.stderr, ended
    return ended.stdout, {*imported.split()}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--version",), "refold "), (("--help",), "  rebuild "), (("-h",), "  rebuild ")],
)
def test_what_needs_nothing_imports_nothing(arguments: tuple[str, ...], said: str) -> None:
    printed, imported = _imported(*arguments)
    assert said in printed
    assert imported == set()


@pytest.mark.parametrize("arguments", [("rebuild", "-h"), ("status", "-h"), ("rebuild",)])
def test_help_and_usage_of_a_command_need_neither_client_nor_driver(
    arguments: tuple[str, ...],
) -> None:
    _, imported = _imported(*arguments)
    assert not imported & {"temporalio", "sqlalchemy", "asyncpg", "alembic", "opentelemetry"}


def test_the_shell_completes_commands_without_importing_them() -> None:
    asked = {"COMP_WORDS": "refold sta", "COMP_CWORD": "1", "_REFOLD_COMPLETE": "complete_bash"}
    printed, imported = _imported(**asked)
    assert printed.split() == ["status", "start"]
    assert imported <= {"rich", "pydantic"}  # what Typer takes when it is there


def test_a_fold_in_memory_needs_neither_client_nor_driver(tmp_path: Path) -> None:
    events = tmp_path / "events.ndjson"
    events.touch()
    _, imported = _imported("fold", "order-summary", "--from", str(events))
    assert "sqlalchemy" in imported
    assert not imported & {"temporalio", "asyncpg", "alembic"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_says_of_a_command_what_it_says_of_itself(command: object) -> None:
    root = get_command(app)
    assert isinstance(command, type(COMMANDS[0]))
    listed = root.commands[command.name]  # type: ignore[attr-defined]
    assert isinstance(listed, Later)
    loaded = listed.loaded()
    assert loaded.name == command.name
    assert listed.get_short_help_str(200) == loaded.get_short_help_str(200) == command.help
    with typer.Context(root) as above:
        assert loaded.make_context(command.name, [], parent=above, resilient_parsing=True)


def test_types_know_each_name_where_it_is_imported_from() -> None:
    tree = ast.parse(Path(refold.__file__).read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.name: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module != "refold.source"
    }
    assert homes == refold._HOME
    assert {*homes} == {*refold.__all__}
